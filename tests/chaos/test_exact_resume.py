"""A run that was killed and resumed ends with the same weights as one that was not, bit for bit (P6)."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chaos.trainee import KINDS, STEPS


class End(NamedTuple):
    """How a run ended."""

    status: int
    start: int
    """The step that it began from."""
    weights: str
    """SHA-256, or `-`."""


class Trainee:
    """`tests.chaos.trainee`, whose children are killed from here."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.trainee"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, kind: str, folder: Path, kill_at: int | None = None) -> End:
        """Train on, with a SIGKILL in the step of that number, counted from where this run begins."""
        folder.mkdir(exist_ok=True)
        (folder / "progress").write_text("0")
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind} {folder}\n")
        self._process.stdin.flush()
        child = int(self._line())
        if kill_at is not None:
            while int((folder / "progress").read_text()) < kill_at:
                time.sleep(0.0005)
            os.kill(child, signal.SIGKILL)
        status, start, weights = self._line().split()
        return End(int(status), int(start), weights)

    def close(self) -> None:
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@pytest.fixture(scope="module")
def trainee() -> Iterator[Trainee]:
    trainee = Trainee()
    yield trainee
    trainee.close()


def check(trainee: Trainee, kind: str, folder: Path, points: int) -> None:
    """Kill in random steps of a run, each time in a new folder, and resume; every third is killed again."""
    whole = trainee.run(kind, folder / "whole")
    assert whole.status == 0
    rng, resumed = random.Random(f"{kind}/{points}"), []
    for point in range(points):
        where = folder / str(point)
        ends = [trainee.run(kind, where, rng.randrange(1, STEPS - 10))]
        if point % 3 == 0:
            ends.append(trainee.run(kind, where, rng.randrange(1, 10)))
        assert [end.status for end in ends] == [-signal.SIGKILL] * len(ends)
        last = trainee.run(kind, where)
        assert (last.status, last.weights) == (0, whole.weights), (point, ends, last)
        resumed.append(last.start)
    # The kills fell into the training, not only before its first checkpoint.
    assert any(0 < step < STEPS for step in resumed), resumed


@pytest.mark.parametrize("kind", [pytest.param("bridge", marks=pytest.mark.chaos), "denoiser"])
def test_a_killed_run_ends_with_the_same_weights(trainee: Trainee, kind: str, tmp_path: Path) -> None:
    check(trainee, kind, tmp_path, 3)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_killed_runs_end_with_the_same_weights(trainee: Trainee, kind: str, tmp_path: Path) -> None:
    check(trainee, kind, tmp_path, 20)
