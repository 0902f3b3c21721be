"""This version opens the data folder of every earlier tag and serves what it finds there."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gephyra as gp

FIXTURES = Path(__file__).parent / "fixtures"
TAGS = sorted(path.name for path in FIXTURES.iterdir())


@pytest.mark.parametrize("tag", TAGS)
def test_a_folder_of_an_earlier_version_is_served(tag: str, tmp_path: Path) -> None:
    expected = json.loads((FIXTURES / tag / "expected.json").read_text())
    shutil.copytree(FIXTURES / tag / "data", tmp_path / "data")
    with gp.Client.local(tmp_path / "data") as client:
        assert client.target(expected["target"]).digest == expected["digest"]
        assert client.job(expected["job"]).state == "SUCCEEDED"
        sampler = client.sampler(expected["sampler"])
        assert sampler.evidence().elbo == expected["elbo"]
        draws = sampler.draw(5, seed=1)
        # Equal bit for bit on one type of processor, to rounding on another.
        assert np.allclose(draws.x, expected["x"], rtol=1e-4, atol=1e-4)
        assert np.allclose(draws.log_weights, expected["log_weights"], rtol=1e-3, atol=1e-3)
        again = client.register(gp.catalogue("eight-schools"), name="schools")
        assert again.digest == expected["digest"]
        if "model" in expected:
            _serves_its_model(client, expected["model"])
        else:
            # What that version had not.
            assert client.datasets() == []
        assert client.upload(draws.x).shape == (5, 10)


def _serves_its_model(client: gp.Client, expected: dict[str, Any]) -> None:
    assert client.dataset(expected["dataset"]).shape == (60, 2)
    model = client.sampler(expected["sampler"])
    x = model.draw(5, seed=1).x
    assert np.allclose(x, expected["x"], rtol=1e-4, atol=1e-4)
    assert np.allclose(model.log_prob(np.array(expected["x"])), expected["log_prob"], rtol=1e-3, atol=1e-3)
    assert client.target(expected["target"]).log_z == 0.0
