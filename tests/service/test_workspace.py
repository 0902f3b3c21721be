"""What of a job's folder is kept for whom, and what a server that died in between leaves to the next start."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gephyra.service.store.records import TERMINAL, JobState
from gephyra.service.workspace import forget, inherit, settle, sweep, take_over

CHECKPOINTS = {"checkpoint-3.safetensors": "three", "checkpoint-7.safetensors": "seven"}


def worked(job: Path, attempt: int = 2) -> Path:
    """The folder of a job whose attempt wrote checkpoints, a log, half a checkpoint and half a sampler."""
    folder = take_over(job, attempt)
    for name, content in CHECKPOINTS.items():
        (folder / name).write_text(content)
    for rest in ("checkpoint-9.safetensors.part", "sampler.safetensors"):
        (folder / rest).touch()
    (job / f"attempt-{attempt}.log").write_text("lines")
    return folder


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


KEPT = {f"kept/{name}": text for name, text in CHECKPOINTS.items()}
LOG = {"attempt-2.log": "lines"}
# What is there once a job is in that state.
AFTER: dict[JobState, dict[str, str]] = {
    JobState.FAILED: KEPT | LOG, JobState.SUCCEEDED: LOG, JobState.CANCELLED: LOG
}  # fmt: skip


@pytest.mark.parametrize("again", [1, 2])
@pytest.mark.parametrize("state", JobState)
def test_a_failed_job_keeps_its_checkpoints_and_others_that_ended_nothing(
    tmp_path: Path, state: JobState, again: int
) -> None:
    job = tmp_path / "job"
    worked(job)
    before = content(job)
    for _ in range(again):
        settle(job, state)
    assert content(job) == (AFTER[state] if state in TERMINAL else before)
    assert set(AFTER) == TERMINAL
    settle(tmp_path / "nothing", state)
    assert not (tmp_path / "nothing").exists()


def test_the_newest_attempt_that_has_checkpoints_counts(tmp_path: Path) -> None:
    """A server may have died between the claim of an attempt and the taking over of the folder."""
    job = tmp_path / "job"
    worked(job)
    (job / "work-3").mkdir()
    settle(job, JobState.FAILED)
    assert content(job) == KEPT | LOG
    assert not list(job.glob("work-*"))


def test_a_worker_that_was_given_up_cannot_reach_what_is_kept(tmp_path: Path) -> None:
    mine = worked(tmp_path / "job")
    settle(tmp_path / "job", JobState.FAILED)
    with pytest.raises(FileNotFoundError):
        (mine / "checkpoint-9.safetensors").write_text("late")


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("links", [True, False])
def test_a_retry_begins_with_the_checkpoints_of_a_failure(
    tmp_path: Path, settled: bool, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one whose folder was not settled yet; and where the file system has no links."""
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    worked(tmp_path / "old")
    if settled:
        settle(tmp_path / "old", JobState.FAILED)
    before = content(tmp_path / "old")
    # Half of an earlier try is in nobody's way.
    (tmp_path / "new" / "inherited.part").mkdir(parents=True)
    (tmp_path / "new" / "inherited.part" / "checkpoint-1.safetensors").touch()
    inherit(tmp_path / "old", tmp_path / "new")
    assert content(tmp_path / "new") == {f"work-0/{name}": text for name, text in CHECKPOINTS.items()}
    # Deleting the old one takes nothing from the new one, which an attempt takes over as usual.
    assert content(tmp_path / "old") == before
    forget(tmp_path / "old")
    assert content(take_over(tmp_path / "new", 1)) == CHECKPOINTS


def refuse(*_: object) -> None:
    raise PermissionError("no links here")


def test_a_failure_without_checkpoints_leaves_nothing_to_begin_with(tmp_path: Path) -> None:
    take_over(tmp_path / "old", 1)
    settle(tmp_path / "old", JobState.FAILED)
    inherit(tmp_path / "old", tmp_path / "new")
    inherit(tmp_path / "never", tmp_path / "new")
    assert list(tmp_path.glob("new/*")) == []
    assert list((tmp_path / "old").iterdir()) == []


def test_a_deleted_job_has_no_folder(tmp_path: Path) -> None:
    worked(tmp_path / "job")
    for _ in range(2):
        forget(tmp_path / "job")
    assert list(tmp_path.iterdir()) == []


def test_a_start_does_what_a_server_that_died_did_not(tmp_path: Path) -> None:
    makers: dict[str, Callable[[Path], object]] = {
        "failed": worked, "cancelled": worked, "paused": worked, "deleted": worked, "half-deleted.gone": worked
    }  # fmt: skip
    for name, make in makers.items():
        make(tmp_path / name)
    states = {"failed": JobState.FAILED, "cancelled": JobState.CANCELLED, "paused": JobState.PAUSED}
    paused = content(tmp_path / "paused")
    for _ in range(2):
        sweep(list(tmp_path.iterdir()), states)
    assert {path.name: content(path) for path in tmp_path.iterdir()} == {
        "failed": KEPT | LOG, "cancelled": LOG, "paused": paused
    }  # fmt: skip
