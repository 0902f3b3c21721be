"""This version opens the data folder of every earlier tag and serves what it finds there."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gephyra as gp
from gephyra.clients.events import Event
from gephyra.service.administer import main as administer
from tests.upgrade.make_fixture import FIXTURES, processor

TAGS = sorted(path.name for path in FIXTURES.iterdir())


def _slow(tag: str) -> Any:
    return pytest.param(tag, marks=pytest.mark.slow)


@pytest.mark.parametrize("tag", TAGS)
def test_a_folder_of_an_earlier_version_is_served(tag: str, tmp_path: Path) -> None:
    expected = json.loads((FIXTURES / tag / "expected.json").read_text())
    shutil.copytree(FIXTURES / tag / "data", tmp_path / "data")
    same = expected["processor"] == processor()
    with gp.Client.local(tmp_path / "data") as client:
        assert client.target(expected["target"]).digest == expected["digest"]
        assert client.job(expected["job"]).state == "SUCCEEDED"
        _tells_its_events(list(client.job(expected["job"]).watch()))
        sampler = client.sampler(expected["sampler"])
        assert sampler.evidence().elbo == expected["elbo"]
        draws = sampler.draw(5, seed=1)
        # Equal bit for bit on one type of processor, to rounding on another.
        assert _equal(same, draws.x, expected["x"], 1e-4)
        assert _equal(same, draws.log_weights, expected["log_weights"], 1e-3)
        again = client.register(gp.catalogue("eight-schools"), name="schools")
        assert again.digest == expected["digest"]
        if "model" in expected:
            _serves_its_model(client, expected["model"], same)
        else:
            # What that version had not.
            assert client.datasets() == []
        assert client.upload(draws.x).shape == (5, 10)


def _tells_its_events(events: list[Event]) -> None:
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    states = [event.state for event in events if event.state is not None]
    assert (states[0], states[-1]) == ("QUEUED", "SUCCEEDED")
    assert any(event.metrics is not None and event.metrics.step == 3 for event in events)


def _equal(same: bool, came: Any, expected: list[Any], tolerance: float) -> bool:
    if same:
        return bool((np.asarray(came, np.float64) == np.asarray(expected)).all())
    return np.allclose(came, expected, rtol=tolerance, atol=tolerance)


def _serves_its_model(client: gp.Client, expected: dict[str, Any], same: bool) -> None:
    assert client.dataset(expected["dataset"]).shape == (60, 2)
    model = client.sampler(expected["sampler"])
    x = model.draw(5, seed=1).x
    assert _equal(same, x, expected["x"], 1e-4)
    assert _equal(same, model.log_prob(np.array(expected["x"], np.float32)), expected["log_prob"], 1e-3)
    assert client.target(expected["target"]).log_z == 0.0


@pytest.mark.parametrize("tag", [*map(_slow, TAGS[:-1]), TAGS[-1]])
def test_a_job_that_an_earlier_version_left_goes_on_from_its_checkpoint(tag: str, tmp_path: Path) -> None:
    expected = json.loads((FIXTURES / tag / "unfinished.json").read_text())
    shutil.copytree(FIXTURES / tag / "unfinished", tmp_path / "data")
    with gp.Client.local(tmp_path / "data") as client:
        job = client.job(expected["job"])
        job.result(progress=False)
        events = list(job.watch())
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        later = [event.metrics.step for event in events[expected["events"] :] if event.metrics is not None]
        assert max(later) == 150
        # The bridges of 0.1.0 had no guide: such a run begins again.
        assert (min(later) > expected["step"] > 0) == (tag != "v0.1.0")
        assert client.job(expected["waiting"]).result(progress=False).draw(2, seed=0).x.shape == (2, 2)


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("place", ["data", "unfinished"])
def test_nothing_that_an_earlier_version_needs_is_missing_or_swept(
    tag: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FIXTURES / tag / place, tmp_path / "data")
    tell = _command(tmp_path / "data", capsys)
    assert tell("upgrade")["from"] >= 1
    assert tell("check")["missing"] == []
    before = sorted(path for path in (tmp_path / "data/artefacts").rglob("*") if path.is_file())
    assert tell("gc", "--grace", "0")["unreadable"] == []
    assert sorted(path for path in (tmp_path / "data/artefacts").rglob("*") if path.is_file()) == before
    with closing(sqlite3.connect(tmp_path / "data/gephyra.sqlite3")) as rows:
        for table in ("events", "jobs", "samplers"):
            rows.execute(f"DELETE FROM {table}")
        rows.commit()
    assert tell("gc", "--grace", "0", "--dry-run")["files"] > 0
    assert tell("gc", "--grace", "0")["files"] > 0
    assert tell("check")["missing"] == []


def _command(data: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(*words: str) -> dict[str, Any]:
        assert administer([*words, "--data", str(data), "--database-url", "", "--json"]) == 0
        record: dict[str, Any] = json.loads(capsys.readouterr().out)
        return record

    return run
