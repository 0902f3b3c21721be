"""Draws travel at three fifths of a bare stream's rate or more, and many streams leave the server there for others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wire_is_not_the_bottleneck() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.wire", "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    print("\n", measured)
    assert measured["stored_to_bare"] >= 0.6
    assert measured["health_stored_p99_ms"] < 50
    assert measured["health_fresh_p99_ms"] < 50
