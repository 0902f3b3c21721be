"""What a store of objects has to do for the artefacts. Blocking; callers on an event loop use a thread."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Objects", "ObjectsRefused", "Stored"]


class ObjectsRefused(Exception):
    """A store of objects cannot be used this way; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Something that is stored, as a listing tells."""

    key: str
    size: int
    """Bytes."""
    modified: float
    """Seconds since 1970, by the clock of the store."""


class Objects(ABC):
    """Objects by key. One appears whole or not at all, and is durable when `put` returns.

    Every method raises Unavailable (ARTEFACTS_UNAVAILABLE) where the store does not do it.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What an operator may read: without credentials."""

    @property
    @abstractmethod
    def elsewhere(self) -> bool:
        """Whether content may be there that the folder lacks."""

    @abstractmethod
    def put(self, key: str, source: Path) -> None:
        """Store the content of a file; one stored under that key lately, of the same size, is taken for the same."""

    @abstractmethod
    def get(self, key: str) -> Iterator[bytes] | None:
        """The content of an object in parts, None if there is none."""

    @abstractmethod
    def find(self, key: str) -> Stored | None:
        """What is stored under a key, None if nothing is."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Drop an object, if it is there."""

    @abstractmethod
    def stored(self, prefix: str) -> Iterator[Stored]:
        """Every object whose key begins with `prefix`, which ends with a slash."""

    @abstractmethod
    def claim(self, owner: str) -> str:
        """The owner of everything here: `owner` if there was none."""
