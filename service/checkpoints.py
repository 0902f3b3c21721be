"""Checkpoints of a job on disk: a folder an attempt. A worker that was given up cannot write where another one does."""

import os
import shutil
from pathlib import Path

__all__ = ["open_checkpoints"]

_PATTERN = "checkpoint-*"


def open_checkpoints(folder: Path, attempt: int) -> Path:
    """The folder below `folder` for this attempt alone, with all that earlier ones left, whose folders are removed.

    Earlier versions of gephyra had one folder for all attempts, `folder` itself. Blocking.
    """
    own = folder / f"attempt-{attempt}"
    own.mkdir(parents=True, exist_ok=True)
    earlier = [path for path in folder.glob("attempt-*") if path != own]
    for source in (folder, *earlier):
        for path in source.glob(_PATTERN):
            os.replace(path, own / path.name)
    for source in earlier:
        shutil.rmtree(source, ignore_errors=True)
    return own
