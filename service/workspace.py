"""The folder of each attempt at a job: `work-N`, with its checkpoints and the sampler that it makes.

An attempt takes over the folder of the one before by renaming it. That is also the fence on disk: a worker that was
given up and wakes again knows only the old name, so that nothing it writes arrives. A job that failed keeps its
checkpoints in `kept`, for a retry, until it is deleted; of other jobs that ended only logs stay. Blocking.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from .store.records import TERMINAL, JobState

__all__ = ["forget", "inherit", "sampler_path", "settle", "sweep", "take_over", "work_folder"]

# What versions up to 0.2 had in the folder of a job.
_EARLIER = "checkpoints"
_KEPT = "kept"
_CHECKPOINTS = "checkpoint-*.safetensors"
_HALF = "inherited.part"
_GONE = ".gone"


def take_over(job: Path, attempt: int) -> Path:
    """The folder of this attempt below the job's, made if missing, with the checkpoints of earlier ones.

    Raises FileExistsError if a later attempt has one: this one was late, and must not take it.
    """
    job.mkdir(parents=True, exist_ok=True)
    mine = work_folder(job, attempt)
    for old in _folders(job):
        if _number(old) > attempt:
            raise FileExistsError(f"{old} is of a later attempt than {attempt}")
        if mine.exists():
            shutil.rmtree(old)
        else:
            old.rename(mine)
    mine.mkdir(exist_ok=True)
    for part in mine.glob("*.part"):
        part.unlink()
    return mine


def work_folder(job: Path, attempt: int) -> Path:
    """That of an attempt below the job's; of attempt 0 is what a job begins with."""
    return job / f"work-{attempt}"


def sampler_path(work: Path) -> Path:
    """Where an attempt with that folder leaves its sampler."""
    return work / "sampler.safetensors"


def settle(job: Path, state: JobState) -> None:
    """Drop what only a further attempt would need, where there is none to come; a failed job keeps its checkpoints."""
    if state not in TERMINAL:
        return
    if state is JobState.FAILED:
        _keep(job)
    else:
        shutil.rmtree(job / _KEPT, ignore_errors=True)
    for folder in _folders(job):
        shutil.rmtree(folder, ignore_errors=True)
    for sampler in job.glob("sampler-*"):
        sampler.unlink(missing_ok=True)


def forget(job: Path) -> None:
    """Drop the whole folder, whatever else is at work in it."""
    gone = job.with_name(job.name + _GONE)
    with suppress(FileNotFoundError):
        job.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def inherit(failed: Path, job: Path) -> None:
    """Begin the folder of a new job with the checkpoints of one that failed, if there are any: the same files."""
    half = job / _HALF
    shutil.rmtree(half, ignore_errors=True)
    for folder in (failed / _KEPT, *_folders(failed), failed / _KEPT):
        # The second look is for what was set aside meanwhile.
        found = sorted(folder.glob(_CHECKPOINTS))
        if found:
            half.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                for file in found:
                    _link(file, half / file.name)
                half.rename(work_folder(job, 0))
                return
    shutil.rmtree(half, ignore_errors=True)


def sweep(folders: Iterable[Path], states: Mapping[str, JobState]) -> None:
    """Settle these folders, and drop those of no job: a server may have died between a change and that."""
    for folder in folders:
        if folder.name in states:
            settle(folder, states[folder.name])
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _keep(job: Path) -> None:
    """Set the newest checkpoints aside, under a name that no worker knows."""
    for folder in _folders(job):
        if any(folder.glob(_CHECKPOINTS)) and not (job / _KEPT).exists():
            with suppress(FileNotFoundError):
                folder.rename(job / _KEPT)
    for file in (job / _KEPT).glob("*"):
        if not file.match(_CHECKPOINTS):
            file.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    """The same content: checkpoints are never changed, only replaced."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # Not every file system has links.
        shutil.copyfile(source, target)


def _folders(job: Path) -> Iterator[Path]:
    """Newest attempt first."""
    yield from sorted(job.glob("work-*"), key=_number, reverse=True)
    if (job / _EARLIER).is_dir():
        yield job / _EARLIER


def _number(folder: Path) -> int:
    """Of the attempt; 0 for a folder from before there were several."""
    name, _, number = folder.name.rpartition("-")
    return int(number) if name == "work" else 0
