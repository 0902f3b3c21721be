"""The main job: Seeds through the whole service, one minute of training on two cores, the median of three seeds."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

REFERENCE = -73.406


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_seeds_in_a_minute(tmp_path: Path) -> None:
    records = []
    for seed in ("0", "1", "2"):
        command = [sys.executable, "-m", "gephyra.clients.cli", "demo", "--seed", seed, "--out", str(tmp_path / seed)]
        finished = subprocess.run(
            [*command, "--json"], capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"}
        )
        records.append(json.loads(finished.stdout.splitlines()[-1]))
        print("\n", records[-1])
        for name in ("draws.nc", "evidence.png", "pairs.png"):
            assert (tmp_path / seed / name).stat().st_size > 10_000

    def median(key: str) -> float:
        return float(statistics.median(record[key] for record in records))

    assert abs(median("log_z") - REFERENCE) <= 0.05
    assert median("k_hat") < 0.7
    assert median("ess_fraction") >= 0.3
