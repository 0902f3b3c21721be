"""The folder of each attempt at a job: `work-N`, with its checkpoints and the sampler that it makes.

An attempt takes over the folder of the one before by renaming it. That is also the fence on disk: a worker that was
given up and wakes again knows only the old name, so that nothing it writes arrives. Blocking.
"""

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

__all__ = ["clean", "sweep", "take_over"]

# What versions up to 0.2 had in the folder of a job.
_EARLIER = "checkpoints"


def take_over(job: Path, attempt: int) -> Path:
    """The folder of this attempt below the job's, made if missing, with the checkpoints of earlier ones."""
    job.mkdir(parents=True, exist_ok=True)
    mine = job / f"work-{attempt}"
    for old in _folders(job):
        if mine.exists():
            shutil.rmtree(old)
        else:
            old.rename(mine)
    mine.mkdir(exist_ok=True)
    for part in mine.glob("*.part"):
        part.unlink()
    return mine


def clean(job: Path) -> None:
    """Drop what only a further attempt would need; logs stay."""
    for folder in _folders(job):
        shutil.rmtree(folder, ignore_errors=True)
    for sampler in job.glob("sampler-*"):
        sampler.unlink(missing_ok=True)


def sweep(jobs: Path, ended: Collection[str]) -> None:
    """Clean the folders of these jobs: a server may have died between the end of a job and that."""
    for name in ended:
        clean(jobs / name)


def _folders(job: Path) -> Iterator[Path]:
    """Newest attempt first."""
    yield from sorted(job.glob("work-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    if (job / _EARLIER).is_dir():
        yield job / _EARLIER
