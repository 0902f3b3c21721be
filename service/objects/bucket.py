"""Objects in a bucket, through obstore. Credentials come from its own environment (AWS_ACCESS_KEY_ID and so on).

What obstore says of an error may quote the store's answer, which names keys: its kind and HTTP status are told.
"""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore import exceptions
from obstore.store import ObjectStore

from ..errors import Reason, Unavailable
from .base import Objects, Stored

if TYPE_CHECKING:
    # Not there when the program runs.
    from obstore import GetResult, ObjectMeta

__all__ = ["Bucket"]

logger = logging.getLogger(__name__)

_OWNER = "database"
_PART = 1 << 20
# Putting an object again keeps a sweep from it, since that makes it young; one this young needs no help.
_YOUNG_SECONDS = 600.0
_BACK_SECONDS = 5
_STATUS = re.compile(r"status(?: code)?:? (\d{3})")
# obstore raises Python's own kinds for some faults, its own for the others.
_FAULTS = (exceptions.BaseError, OSError, RuntimeError, ValueError)


class Bucket(Objects):
    """The objects of one store.

    Args:
        store: Where they are, bucket and prefix included.
        name: What an operator may read of it.
    """

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def elsewhere(self) -> bool:
        return True

    def put(self, key: str, source: Path) -> None:
        size, there = source.stat().st_size, self.find(key)
        if there is not None and there.size == size and time.time() - there.modified < _YOUNG_SECONDS:
            return
        with self._asking():
            obstore.put(self._store, key, source)
        found = self.find(key)
        if found is None or found.size != size:
            raise self._unavailable(f"it has {found.size if found else 'no'} bytes of {key} where {size} were sent")

    def get(self, key: str) -> Iterator[bytes] | None:
        with self._asking():
            try:
                found = obstore.get(self._store, key)
            except FileNotFoundError:
                return None
        return self._parts(found)

    def find(self, key: str) -> Stored | None:
        with self._asking():
            try:
                return _stored(obstore.head(self._store, key))
            except FileNotFoundError:
                return None

    def remove(self, key: str) -> None:
        with self._asking():
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                return

    def stored(self, prefix: str) -> Iterator[Stored]:
        with self._asking():
            for page in obstore.list(self._store, prefix):
                yield from map(_stored, page)

    def claim(self, owner: str) -> str:
        with self._asking():
            with suppress(exceptions.AlreadyExistsError):
                obstore.put(self._store, _OWNER, owner.encode(), mode="create")
            return bytes(obstore.get(self._store, _OWNER).bytes()).decode()

    def _parts(self, found: "GetResult") -> Iterator[bytes]:
        with self._asking():
            for part in found.stream(min_chunk_size=_PART):
                yield bytes(part)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except _FAULTS as error:
            raise self._unavailable(_kind(error)) from None

    def _unavailable(self, why: str) -> Unavailable:
        logger.warning("the store of artefacts %s: %s", self._name, why)
        message = f"the store of artefacts does not do its work ({why}); try again when it is back"
        return Unavailable(Reason.ARTEFACTS_UNAVAILABLE, message, retry_seconds=_BACK_SECONDS)


def _stored(meta: "ObjectMeta") -> Stored:
    return Stored(meta["path"], meta["size"], meta["last_modified"].timestamp())


def _kind(error: Exception) -> str:
    """An error in words that quote nothing of what the store answered."""
    status = _STATUS.search(str(error))
    return type(error).__name__ + (f", HTTP status {status[1]}" if status else "")
