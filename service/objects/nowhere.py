"""No objects anywhere: the folder is all there is."""

from collections.abc import Iterator
from pathlib import Path

from .base import Objects, Stored

__all__ = ["NoObjects"]


class NoObjects(Objects):
    """Keeps nothing, lacks nothing."""

    @property
    def name(self) -> str:
        return "nowhere"

    @property
    def elsewhere(self) -> bool:
        return False

    def put(self, key: str, source: Path) -> None:
        pass

    def get(self, key: str) -> Iterator[bytes] | None:
        return None

    def find(self, key: str) -> Stored | None:
        return None

    def remove(self, key: str) -> None:
        pass

    def stored(self, prefix: str) -> Iterator[Stored]:
        return iter(())

    def claim(self, owner: str) -> str:
        return owner
