"""What benchmark scripts take from the environment, and the environment they give to the processes they measure."""

import os
from pathlib import Path

from benchmarks.data import VARIABLE
from gephyra.service.process import training_environment

__all__ = ["data_folder", "worker_environment"]


def worker_environment() -> dict[str, str]:
    """That of the service's training workers: one thread, passive waiting, memory that stays with the process."""
    return {**os.environ, **training_environment(1)}


def data_folder() -> Path | None:
    """Where the data sets are, if the variable says so."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
