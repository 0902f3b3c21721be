"""Writes content into a store of files named by their content."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

__all__ = ["ArtefactWriter"]


class ArtefactWriter:
    """Content on its way into a store, a context.

    Args:
        staging: A file to write, not there yet.
        place: Gives that file, once it is on disk, its place under its digest; returns the place.
        send: Brings content that has its place to wherever else it is kept.
    """

    def __init__(self, staging: Path, place: Callable[[Path, str], Path], send: Callable[[str], None]) -> None:
        self._staging = staging
        self._place = place
        self._send = send
        self._hash = hashlib.sha256()
        self._file: IO[bytes] | None = None
        self.size = 0

    def __enter__(self) -> Self:
        self._file = self._staging.open("xb")
        return self

    def __exit__(self, *error: object) -> None:
        try:
            # What is left in its buffer may not fit on the disk.
            self._close()
        finally:
            self._staging.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """Digest in hex of what was written so far."""
        return self._hash.hexdigest()

    def write(self, part: bytes) -> None:
        """Append bytes."""
        assert self._file is not None, "the writer is not open"
        self._file.write(part)
        self._hash.update(part)
        self.size += len(part)

    def resume(self, source: Path, size: int) -> None:
        """Begin with the first `size` bytes of a file, which is taken away. Before anything is written.

        Raises FileNotFoundError if there is no such file, ValueError if it is shorter; it then stays.
        """
        assert self._file is not None, "the writer is not open"
        if source.stat().st_size < size:
            raise ValueError(f"{source} has fewer than {size} bytes")
        source.replace(self._staging)
        self._close()
        self._file = self._staging.open("r+b")
        self._file.truncate(size)
        self.size = size
        while part := self._file.read(1 << 20):
            self._hash.update(part)

    def keep(self, final: Path) -> None:
        """Move what was written so far to another place, instead of dropping it."""
        self._close()
        self._staging.replace(final)

    def commit(self) -> str:
        """Make the content durable under its digest, which is returned. Raises Unavailable; the folder has it then."""
        self.land()
        self._send(self.sha256)
        return self.sha256

    def land(self) -> Path:
        """Make the content durable in the folder only; where it lies."""
        assert self._file is not None, "the writer is not open"
        self._file.flush()
        os.fsync(self._file.fileno())
        self._close()
        return self._place(self._staging, self.sha256)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
