"""Who has a data folder: an advisory lock that the kernel drops when its owner dies.

Where the rows are in SQLite one server has it. Servers on one PostgreSQL share theirs, and keep others out.
"""

import fcntl
import os
from pathlib import Path
from typing import Self

__all__ = ["FolderLock", "FolderLocked"]


class FolderLocked(Exception):
    """Another server owns the data folder."""


class FolderLock:
    """Holds `folder/lock` from construction to `close`, for itself or with others. Makes the folder.

    Raises FolderLocked.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(self._handle, 64).decode(errors="replace").strip() or "unknown"
            os.close(self._handle)
            raise FolderLocked(
                f"the data folder {folder} is in use by another gephyra server (process {owner}); "
                "connect to that one, stop it, or choose another folder"
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give the folder free."""
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
