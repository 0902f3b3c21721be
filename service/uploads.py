"""Uploaded blobs, in a store of their own: whole ones by content, unfinished ones by the digest announced for them.

A blob waits here for the request that refers to it. A target takes a link to the content into the artefacts, so that no
end of the blob concerns it; a data set takes the blob away. Blocking.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from .artefacts import Artefacts
from .objects import Objects

__all__ = ["Upload", "Uploads"]


class Uploads:
    """The blobs below `folder`, made with the first of them. Arguments as for Artefacts."""

    def __init__(self, folder: Path, objects: Objects | None = None, owner: str = "") -> None:
        self.whole = Artefacts(folder, objects, "uploads/", owner)
        self._unfinished = folder / "unfinished"

    def received(self, sha256: str) -> int:
        """Bytes of an unfinished blob that can be gone on from."""
        return _size(self._part(sha256))

    def begin(self, sha256: str) -> "Upload":
        """A stream of the blob of this digest, a context."""
        self._unfinished.mkdir(parents=True, exist_ok=True)
        return Upload(self.whole, self._part(sha256))

    def unfinished(self) -> Iterator[Path]:
        """The files of those of which only a beginning came."""
        return self._unfinished.glob("*")

    def sweep(self, horizon: float) -> list[str]:
        """Drop what has waited since before `horizon` (seconds since 1970); the digests of the whole blobs among it."""
        old = [path for path in self.unfinished() if _older(path, horizon)]
        whole = [each for each in self.whole.digests() if _older(self.whole.path(each), horizon)]
        for path in [*old, *map(self.whole.path, whole)]:
            path.unlink(missing_ok=True)
        return whole

    def _part(self, sha256: str) -> Path:
        return self._unfinished / sha256


class Upload:
    """One stream of bytes, a context. Unless `commit` or `drop` is called, what came is kept for another stream.

    Two streams of one blob do not meet: each writes a file of its own, and the longer one is kept.
    """

    def __init__(self, whole: Artefacts, part: Path) -> None:
        self._writer = whole.writer()
        self._part = part
        self._over = False

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._over and self._writer.size > _size(self._part):
                # A commit that nobody waits for any more may be faster.
                with contextlib.suppress(FileNotFoundError):
                    self._writer.keep(self._part)
        finally:
            self._writer.__exit__(kind, error, trace)

    def resume(self, offset: int) -> None:
        """Go on after the first `offset` bytes of what was kept; they are read again for their digest.

        Raises ValueError if so many did not come.
        """
        try:
            self._writer.resume(self._part, offset)
        except (FileNotFoundError, ValueError):
            raise ValueError(f"fewer than {offset} bytes of this blob are here") from None

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self._writer.size

    @property
    def sha256(self) -> str:
        """Digest in hex of what is here."""
        return self._writer.sha256

    def write(self, part: bytes) -> None:
        """Append bytes."""
        self._writer.write(part)

    def commit(self) -> None:
        """Make the blob durable under its digest."""
        self._writer.commit()
        self._over = True
        self._part.unlink(missing_ok=True)

    def drop(self) -> None:
        """Forget what came: it is not what was announced."""
        self._over = True


def _older(path: Path, horizon: float) -> bool:
    # Another server may have taken it in between.
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime < horizon
    return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
