"""The client of the last release works with today's server (P13)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ServerProcess

ROOT = Path(__file__).parents[2]
TAGS = ("v0.2.0", "v0.3.0")
PARTS = ("clients", "protos", "gephyra", "pyproject.toml")

# What its users do: register, train, watch, draw, ask for the evidence.
SCRIPT = """
import json, sys
import gephyra as gp
from gephyra.clients.errors import NotFound

with gp.Client(sys.argv[1]) as client:
    target = client.register(gp.catalogue("gaussian", dim=2), name="normal")
    job = client.train(target, iterations=3, steps=4, width=8, batch_size=16, precondition="none", seed=0)
    events = list(job.watch())
    sampler = job.result(progress=False)
    draws = sampler.draw(7, seed=1)
    evidence = sampler.evidence(n=64, seed=1)
    job.cancel()
    missing = ""
    try:
        client.target("no-such-target")
    except NotFound as error:
        missing = error.reason
    print(json.dumps({
        "version": gp.__version__, "file": gp.__file__, "sequences": [event.sequence for event in events],
        "states": [str(event.state) for event in events if event.state is not None],
        "steps": [event.metrics.step for event in events if event.metrics is not None],
        "x": draws.x.tolist(), "log_weights": draws.log_weights.tolist(), "log_z": evidence.log_z, "missing": missing,
        "samplers": [each.name for each in client.samplers()], "sampler": sampler.name, "server": client.info().version,
    }))
"""


@pytest.fixture(params=[pytest.param(TAGS[0], marks=pytest.mark.slow), *TAGS[1:]])
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The client of a tag, as it was released; skipped where the clone lacks the tag."""
    git = ["git", "-C", str(ROOT), "archive", request.param, *PARTS]
    done = subprocess.run(git, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the client of {request.param} is not tried: this clone lacks the tag; git fetch --tags")
    folder = tmp_path / "released"
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=done.stdout, check=True)
    return folder


@pytest.mark.slow
def test_the_client_of_an_earlier_release_works_with_this_server(released: Path, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        done = subprocess.run(
            [sys.executable, "-P", "-c", SCRIPT, f"unix:{server.socket}"], capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(released)}, timeout=90,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert Path(told["file"]).is_relative_to(released)
    assert told["version"] != ""
    assert told["sequences"] == list(range(1, len(told["sequences"]) + 1))
    assert (told["states"][0], told["states"][-1]) == ("QUEUED", "SUCCEEDED")
    assert max(told["steps"]) == 3
    assert (len(told["x"]), len(told["log_weights"]), told["missing"]) == (7, 7, "TARGET_NOT_FOUND")
    assert told["samplers"] == [told["sampler"]]
    assert abs(told["log_z"]) < 50
