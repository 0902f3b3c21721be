"""Files named by their content: `sha256/aa/aabb...` below one folder.

A file appears whole or not at all, also across a power cut: written beside, flushed to disk, renamed, and the
folder flushed. Readers that cannot trust the disk check the hash again. Blocking, but for `present`; callers on an
event loop use a thread.

With a store of objects, those are what lasts, under the same names: content goes to the folder, then there, and only
then may a row name it. The folder is a copy, filled when content is asked for.

What no row names is swept after a time of grace. Storing content that is there already, or holding it, makes it young
again, so a sweep never takes what a row is about to name.
"""

import asyncio
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from .errors import Unavailable
from .objects import NoObjects, Objects, Stored
from .objects.flight import SingleFlight
from .writing import ArtefactWriter

__all__ = ["Artefacts", "CorruptArtefact"]


class CorruptArtefact(Exception):
    """A stored file does not have the content that its name promises."""


class Artefacts:
    """The store below `folder`, made with the first content.

    Args:
        folder: Where files are.
        objects: Where they are kept too, under keys that begin with `prefix`.
        prefix: Empty, or ends with a slash.
        owner: Whose files are those that are being written; other servers may have the folder too.
    """

    def __init__(self, folder: Path, objects: Objects | None = None, prefix: str = "", owner: str = "") -> None:
        self.folder, self._owner = folder, owner
        self._staging = folder / "staging"
        self._objects = objects or NoObjects()
        self._prefix = f"{prefix}sha256/"
        self._flight = SingleFlight(self._fetch)
        # Held where content becomes young, and where a sweep takes what is old.
        self._aging = threading.RLock()
        # When this process used content last, by a clock that nobody sets.
        self._used: dict[str, float] = {}

    @property
    def objects(self) -> Objects:
        """Where content is kept beside the folder."""
        return self._objects

    def path(self, sha256: str) -> Path:
        """Where the content with this digest lies or would lie."""
        return self.folder / "sha256" / sha256[:2] / sha256

    def key(self, sha256: str) -> str:
        """Under which this content is among the objects."""
        return f"{self._prefix}{sha256[:2]}/{sha256}"

    async def present(self, sha256: str) -> Path:
        """Where the content with this digest lies, fetched first if the folder lacks it.

        Raises Unavailable, CorruptArtefact (also for content that is nowhere). Without objects the folder is not asked.
        """
        path = self.path(sha256)
        self._used[sha256] = time.monotonic()
        if self._objects.elsewhere and not path.exists():
            await asyncio.shield(asyncio.wrap_future(self._flight.begin(sha256)))
        return path

    def bring(self, sha256: str) -> None:
        """`present` for callers that may block."""
        if self._objects.elsewhere and not self.path(sha256).exists():
            self._flight.begin(sha256).result()

    def put(self, content: bytes) -> str:
        """Store bytes; returns their SHA-256 in hex. Raises Unavailable."""
        with self.writer() as writer:
            writer.write(content)
            return writer.commit()

    def put_file(self, source: Path) -> str:
        """Store a copy of a file; returns its SHA-256 in hex. Raises Unavailable."""
        with self.writer() as writer, source.open("rb") as file:
            while part := file.read(1 << 20):
                writer.write(part)
            return writer.commit()

    def adopt(self, source: Path, sha256: str) -> None:
        """Have the content of a file that is known to have this digest and will not change; costs no space.

        Raises FileNotFoundError where neither the file nor the content is there, Unavailable.
        """
        final = self._prepared(sha256)
        with self._aging:
            try:
                self._renew(sha256)
            except FileNotFoundError:
                self._link(source, final)
                self._renew(sha256)
        self._send(sha256)

    def hold(self, sha256: str) -> int | None:
        """Bytes of content that a row is about to name, None if it is nowhere; no sweep takes it meanwhile.

        Raises Unavailable.
        """
        try:
            self.bring(sha256)
            with self._aging:
                self._renew(sha256)
        except (FileNotFoundError, CorruptArtefact):
            return None
        self._send(sha256)
        return self.size(sha256)

    def remove(self, sha256: str) -> None:
        """Drop the content with this digest, if it is there. The caller knows that nothing needs it.

        An object that cannot be reached is left to a sweep.
        """
        self.drop(sha256)
        with suppress(Unavailable):
            self._objects.remove(self.key(sha256))

    def drop(self, sha256: str) -> None:
        """Drop it from the folder only."""
        self.path(sha256).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        """Every digest whose content is in the folder."""
        return (path.name for path in self.folder.glob("sha256/*/*"))

    def files(self) -> Iterator[Stored]:
        """Everything in the folder, by digest."""
        for path in self.folder.glob("sha256/*/*"):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            yield Stored(path.name, found.st_size, found.st_mtime)

    def kept(self) -> Iterator[Stored]:
        """Everything among the objects, by digest. Raises Unavailable."""
        for each in self._objects.stored(self._prefix):
            yield Stored(each.key.rpartition("/")[2], each.size, each.modified)

    def sweep_file(self, sha256: str, horizon: float, grace: float) -> bool:
        """Take content from the folder, unless it is younger than `horizon` or was used within `grace` seconds."""
        path = self.path(sha256)
        with self._aging:
            if self._in_use(sha256, grace) or not path.exists() or path.stat().st_mtime >= horizon:
                return False
            path.unlink()
            return True

    def sweep_object(self, sha256: str, horizon: float, grace: float) -> bool:
        """Take content from the objects, likewise. Raises Unavailable."""
        with self._aging:
            found = None if self._in_use(sha256, grace) else self._objects.find(self.key(sha256))
            if found is None or found.modified >= horizon:
                return False
            self._objects.remove(self.key(sha256))
            return True

    def read(self, sha256: str) -> bytes:
        """The content with this digest, checked. Raises FileNotFoundError, CorruptArtefact, Unavailable."""
        self.bring(sha256)
        content = self.path(sha256).read_bytes()
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
        if self._objects.elsewhere:
            self.drop(sha256)
            self.bring(sha256)
            return self.path(sha256).read_bytes()
        raise CorruptArtefact(
            f"{self.path(sha256)} does not have the content that its name promises; restore it from a backup"
        )

    def peek(self, sha256: str) -> bytes:
        """The content with this digest, checked, without a copy to the folder. Raises as `read` does."""
        path = self.path(sha256)
        if path.exists():
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == sha256:
                return content
        parts = self._objects.get(self.key(sha256))
        content = path.read_bytes() if parts is None else b"".join(parts)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise CorruptArtefact(f"{sha256} does not have the content that its name promises")
        return content

    def size(self, sha256: str) -> int | None:
        """Bytes of the content with this digest, or None if it is not in the folder."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def writer(self) -> ArtefactWriter:
        """A writer whose content is stored by `commit` and dropped otherwise."""
        self._staging.mkdir(parents=True, exist_ok=True)
        return ArtefactWriter(self._staging / f"{self._owner}-{secrets.token_hex(8)}", self._land, self._send)

    def clean(self, gone: Callable[[str], bool] = lambda owner: True) -> None:
        """Drop what interrupted writers left behind: those whose owner is `gone`."""
        for path in self._staging.glob("*"):
            if gone(path.name.rpartition("-")[0]):
                path.unlink(missing_ok=True)

    def _prepared(self, sha256: str) -> Path:
        """Where the content goes, in a folder that is there."""
        final = self.path(sha256)
        if not final.parent.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            _sync_folder(final.parent.parent)
        return final

    def _land(self, staged: Path, sha256: str) -> Path:
        """Give a file on disk its place."""
        final = self._prepared(sha256)
        with self._aging:
            staged.replace(final)
            self._used[sha256] = time.monotonic()
        _sync_folder(final.parent)
        return final

    def _send(self, sha256: str) -> None:
        self._objects.put(self.key(sha256), self.path(sha256))

    def _link(self, source: Path, final: Path) -> None:
        try:
            os.link(source, final)
        except FileNotFoundError:
            raise
        except OSError:  # A file system without links.
            self.put_file(source)
            return
        _sync_folder(final.parent)

    def _renew(self, sha256: str) -> None:
        """Make content young. Raises FileNotFoundError."""
        os.utime(self.path(sha256))
        self._used[sha256] = time.monotonic()

    def _in_use(self, sha256: str, grace: float) -> bool:
        used = self._used.get(sha256)
        if used is None or time.monotonic() - used < grace:
            return used is not None
        del self._used[sha256]
        return False

    def _fetch(self, sha256: str) -> None:
        """Copy an object to the folder, if it is what its name promises."""
        if self.path(sha256).exists():
            return
        parts = self._objects.get(self.key(sha256))
        if parts is None:
            raise CorruptArtefact(f"content {sha256} is neither in {self.folder} nor in {self._objects.name}")
        with self.writer() as writer:
            for part in parts:
                writer.write(part)
            if writer.sha256 != sha256:
                raise CorruptArtefact(
                    f"{self.key(sha256)} in {self._objects.name} does not have the content that its name promises"
                )
            writer.land()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
