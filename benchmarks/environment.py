"""What benchmark scripts take from the environment, and the environment they give to the processes they measure."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data import VARIABLE
from gephyra.service.executor import training_environment

__all__ = ["data_folder", "in_child", "worker_environment"]


def worker_environment() -> dict[str, str]:
    """That of the service's training workers: one thread, passive waiting, memory that stays with the process."""
    return {**os.environ, **training_environment(1)}


def data_folder() -> Path | None:
    """Where the data sets are, if the variable says so."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def in_child(module: str, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """`python -m module --child words` in that environment, and what it wrote to standard output."""
    command = [sys.executable, "-m", module, "--child", *words]
    return subprocess.run(command, env=worker_environment(), stdout=subprocess.PIPE, text=True, check=False)
