"""Which servers are at work in a data folder: a locked file each, which the kernel gives free when its server dies.

With SQLite there is one. With PostgreSQL there may be several, also on other machines over a shared file system. A file
of this machine whose lock can be had is that of a dead server. Whether a lock is seen from another machine depends on
the file system; so there the server must also have been silent for a while, by the clock of the file system.
"""

import fcntl
import os
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Presence", "living"]


class Presence:
    """The file `folder/OWNER` of this server, from construction to `close`; and the judgement of others. Blocking.

    Attributes:
        owner: A name that no other life of a server had.
    """

    def __init__(self, folder: Path, silence: float) -> None:
        """`silence`: Seconds without `touch` after which a server of another machine may be dead."""
        folder.mkdir(parents=True, exist_ok=True)
        self.owner = secrets.token_hex(8)
        self._folder, self._silence, self._host = folder, silence, socket.gethostname()
        self._path = folder / self.owner
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        os.pwrite(self._handle, f"{self._host} {os.getpid()}\n".encode(), 0)

    def touch(self) -> None:
        """Give a sign of life to other machines."""
        os.utime(self._handle)

    def dead(self) -> set[str]:
        """Servers that are dead, and have not been forgotten."""
        return {path.name for path in self._others() if self._is_dead(path)}

    def gone(self, owner: str) -> bool:
        """Whether nobody of that name is at work. Of one without a file that is known only if there is nobody else."""
        if owner == self.owner:
            return False
        path = self._folder / owner
        if owner and path.exists():
            return self._is_dead(path)
        return all(self._is_dead(other) for other in self._others())

    def forget(self, owners: Iterable[str]) -> None:
        """Nothing of these dead servers is left."""
        for owner in owners:
            (self._folder / owner).unlink(missing_ok=True)

    def close(self, *, left: bool = False) -> None:
        """This server leaves. If anything is `left` in its name, it is from now on a dead one."""
        if not left:
            self._path.unlink(missing_ok=True)
        os.close(self._handle)

    def _others(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if path != self._path]

    def _is_dead(self, path: Path) -> bool:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            if not _free(handle):
                return False
            host, blank, _ = os.read(handle, 300).decode(errors="replace").partition(" ")
            # Without a word in it, it was just made.
            return (bool(blank) and host == self._host) or self._silent(handle)
        finally:
            os.close(handle)

    def _silent(self, handle: int) -> bool:
        self.touch()
        return os.fstat(self._handle).st_mtime - os.fstat(handle).st_mtime > self._silence


def living(folder: Path) -> list[str]:
    """Host and process of each server whose file in `folder` is locked, for people to read."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if not _free(handle):
                found.append(os.read(handle, 300).decode(errors="replace").strip())
        finally:
            os.close(handle)
    return found


def _free(handle: int) -> bool:
    """Whether nobody holds the lock of a file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
