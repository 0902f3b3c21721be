"""What is uploaded: bytes in memory or in a file, with their digest, in pieces from any position."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

__all__ = ["CHUNK_BYTES", "BytesContent", "Content", "FileContent"]

CHUNK_BYTES = 256 * 1024
"""Bytes a message."""


class Content(Protocol):
    """Bytes that do not change."""

    @property
    def sha256(self) -> str:
        """Digest of all bytes, in hex."""
        ...

    @property
    def size(self) -> int:
        """Number of bytes."""
        ...

    def parts(self, offset: int) -> Iterator[bytes]:
        """The bytes from `offset` on, in pieces that fit a message."""
        ...


class BytesContent:
    """Bytes in memory."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self.sha256 = hashlib.sha256(self._data).hexdigest()
        self.size = self._data.nbytes

    def parts(self, offset: int) -> Iterator[bytes]:
        """The bytes from `offset` on."""
        for first in range(offset, self.size, CHUNK_BYTES):
            yield bytes(self._data[first : first + CHUNK_BYTES])


class FileContent:
    """The bytes of a file, which is read when they are sent. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self.size = file.tell()

    def parts(self, offset: int) -> Iterator[bytes]:
        """The bytes from `offset` on."""
        with self._path.open("rb") as file:
            file.seek(offset)
            while part := file.read(CHUNK_BYTES):
                yield part
