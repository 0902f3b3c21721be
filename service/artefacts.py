"""Files named by their content: `sha256/aa/aabb...` below one folder.

A file appears whole or not at all, also across a power cut: written beside, flushed to disk, renamed, and the
folder flushed. Readers that cannot trust the disk check the hash again. Blocking; callers on an event loop
use a thread.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Self

__all__ = ["ArtefactWriter", "Artefacts", "CorruptArtefact"]


class CorruptArtefact(Exception):
    """A stored file does not have the content that its name promises."""


class Artefacts:
    """The store below `folder`; made if missing. What is being written bears the name of its owner."""

    def __init__(self, folder: Path, owner: str = "") -> None:
        self.folder, self._owner = folder, owner
        self._staging = folder / "staging"
        self._staging.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the content with this digest lies or would lie."""
        return self.folder / "sha256" / sha256[:2] / sha256

    def put(self, content: bytes) -> str:
        """Store bytes; returns their SHA-256 in hex."""
        with self.writer() as writer:
            writer.write(content)
            return writer.commit()

    def put_file(self, source: Path) -> str:
        """Store a copy of a file; returns its SHA-256 in hex."""
        with self.writer() as writer, source.open("rb") as file:
            while part := file.read(1 << 20):
                writer.write(part)
            return writer.commit()

    def adopt(self, source: Path, sha256: str) -> None:
        """Have the content of a file that is known to have this digest and will not change; costs no space.

        Raises FileNotFoundError where neither the file nor the content is there.
        """
        if self.size(sha256) is not None:
            return
        final = self._prepared(sha256)
        try:
            os.link(source, final)
        except FileExistsError:
            return
        except FileNotFoundError:
            raise
        except OSError:  # A file system without links.
            self.put_file(source)
            return
        _sync_folder(final.parent)

    def remove(self, sha256: str) -> None:
        """Drop the content with this digest, if it is there. The caller knows that nothing needs it."""
        self.path(sha256).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        """Every digest whose content is here."""
        return (path.name for path in self.folder.glob("sha256/*/*"))

    def read(self, sha256: str) -> bytes:
        """The content with this digest, checked. Raises FileNotFoundError, CorruptArtefact."""
        content = self.path(sha256).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise CorruptArtefact(
                f"{self.path(sha256)} does not have the content that its name promises; restore it from a backup"
            )
        return content

    def size(self, sha256: str) -> int | None:
        """Bytes of the content with this digest, or None if it is not here."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def writer(self) -> "ArtefactWriter":
        """A writer whose content is stored by `commit` and dropped otherwise."""
        return ArtefactWriter(self, self._staging / f"{self._owner}-{secrets.token_hex(8)}")

    def _prepared(self, sha256: str) -> Path:
        """Where the content goes, in a folder that is there."""
        final = self.path(sha256)
        if not final.parent.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            _sync_folder(final.parent.parent)
        return final

    def clean(self, gone: Callable[[str], bool] = lambda owner: True) -> None:
        """Drop what interrupted writers left behind: those whose owner is `gone`."""
        for path in self._staging.iterdir():
            if gone(path.name.rpartition("-")[0]):
                path.unlink(missing_ok=True)


class ArtefactWriter:
    """Content on its way into the store."""

    def __init__(self, artefacts: Artefacts, staging: Path) -> None:
        self._artefacts = artefacts
        self._staging = staging
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
        """Make the content durable under its digest, which is returned."""
        assert self._file is not None, "the writer is not open"
        self._file.flush()
        os.fsync(self._file.fileno())
        self._close()
        final = self._artefacts._prepared(self.sha256)
        self._staging.replace(final)
        _sync_folder(final.parent)
        return self.sha256

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
