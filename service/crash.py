"""Named places at the edges of commits where a test may have this process die. Nothing happens outside such tests.

The environment variable GEPHYRA_CRASH names a folder. A process that passes a place notes it there as `passed/NAME`,
and dies as by SIGKILL if it can take away the file `NAME`: so each such file kills one process once, whichever comes.
"""

import os
import signal
from enum import StrEnum
from pathlib import Path

__all__ = ["VARIABLE", "Place", "crash_point"]

VARIABLE = "GEPHYRA_CRASH"


class Place(StrEnum):
    """Where a process may die; what was committed before, and what would have come next."""

    RECOVERED = "recovered"
    """Jobs of an earlier server wait again; the server does not serve yet."""
    TARGET_CONTENT = "target-content"
    """The content of a target is stored, its row is not."""
    TARGET_STORED = "target-stored"
    """A target is stored; its check has not begun, nobody was told."""
    CHECK_STORED = "check-stored"
    """The outcome of a target's check is stored."""
    BLOB_CONTENT = "blob-content"
    """The bytes of an upload are in place, their row is not."""
    BLOB_STORED = "blob-stored"
    """An upload is stored; nobody was told."""
    DATASET_CONTENT = "dataset-content"
    """The values of a data set are in place, its row is not."""
    DATASET_STORED = "dataset-stored"
    """A data set is stored; the blob that it was made from is still there."""
    IMPORT_CONTENT = "import-content"
    """The content of an imported sampler is stored, its row is not."""
    IMPORT_STORED = "import-stored"
    """An imported sampler is stored; nobody was told."""
    JOB_STORED = "job-stored"
    """A job is stored; the scheduler does not know, nobody was told."""
    JOB_CLAIMED = "job-claimed"
    """A job is PENDING, without a worker."""
    WORKER_STARTED = "worker-started"
    """A worker is there and has not been told what to do."""
    EVENT_STORED = "event-stored"
    """An event of a job is stored; watchers were not woken."""
    CHECKPOINT_WRITTEN = "checkpoint-written"
    """In the worker: a checkpoint is on disk, the server does not know."""
    CHECKPOINT_STORED = "checkpoint-stored"
    """The event of a checkpoint is stored."""
    SAMPLER_WRITTEN = "sampler-written"
    """In the worker: the sampler is on disk, the server does not know."""
    SAMPLER_CONTENT = "sampler-content"
    """The content of a trained sampler is stored; its row, the job's end and the event are not."""
    JOB_ENDED = "job-ended"
    """A terminal state of a job is stored; what only a further attempt would need is still there."""
    CANCEL_STORED = "cancel-stored"
    """A job is CANCELLING or CANCELLED; its worker does not know, nobody was told."""
    PAUSE_STORED = "pause-stored"
    """A job is PAUSED or shall be; its worker does not know, nobody was told."""
    RETRY_COPIED = "retry-copied"
    """The checkpoints of a failed job are in the folder of one that is not stored yet."""
    JOB_DELETED = "job-deleted"
    """A job is gone; its folder is still there."""
    TARGET_DELETED = "target-deleted"
    """A target is gone; nobody was told."""
    SAMPLER_DELETED = "sampler-deleted"
    """A sampler is gone; nobody was told."""
    DATASET_DELETED = "dataset-deleted"
    """A data set is gone; its values are still there."""


def crash_point(place: Place) -> None:
    """Die here if a test asks for it."""
    folder = os.environ.get(VARIABLE)
    if folder:
        _pass(Path(folder), place)


def _pass(folder: Path, place: Place) -> None:
    (folder / "passed" / place).touch()
    try:
        (folder / place).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
