"""Draws that were made lately, in memory: draw i of a seed never changes, so asking again needs no worker."""

from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Hashable

from .cutting import Drawn

__all__ = ["DrawCache"]

# Of Python's objects around a piece.
_OVERHEAD = 512
# Of one stream: a program that walks through it in small steps leaves many.
_MOST_DIGESTS = 256


class DrawCache:
    """Holds chunks as they were sent, at most `size` bytes of them.

    Streams that were not asked for the longest go first, each as a whole.
    A stream is named by what its draws depend on: digests of sampler and target, seed, and how they are made.
    """

    def __init__(self, size: int) -> None:
        self._room, self._most = size, size
        self._streams: OrderedDict[Hashable, _Stream] = OrderedDict()

    def get(self, stream: Hashable, index: int) -> Drawn | None:
        """Draws of a stream that begin with, or before, the draw of this index and hold it."""
        found = self._streams.get(stream)
        if found is None:
            return None
        self._streams.move_to_end(stream)
        return found.get(index)

    def exact(self, stream: Hashable, start: int, count: int) -> Drawn | None:
        """Exactly these draws, as they were sent before."""
        drawn = self.get(stream, start)
        return drawn if drawn is not None and (drawn.start, drawn.count) == (start, count) else None

    def digest(self, stream: Hashable, start: int, count: int) -> str:
        """The digest of draws that were sent before and are still here; empty if it is not known."""
        found = self._streams.get(stream)
        return "" if found is None else found.digests.get((start, count), "")

    def remember(self, stream: Hashable, start: int, count: int, digest: str) -> None:
        """Keep the digest of what was sent, as long as its stream is kept."""
        found = self._streams.get(stream)
        if found is not None and len(found.digests) < _MOST_DIGESTS:
            found.digests[start, count] = digest

    def put(self, stream: Hashable, drawn: Drawn) -> None:
        """Keep draws, unless one stream alone would then fill everything."""
        cost = len(drawn.message) + _OVERHEAD
        found = self._streams.get(stream) or _Stream()
        if found.size + cost > self._most or found.get(drawn.start) is not None:
            return
        self._streams[stream] = found
        self._streams.move_to_end(stream)
        found.put(drawn, cost)
        self._room -= cost
        while self._room < 0:
            _, dropped = self._streams.popitem(last=False)
            self._room += dropped.size


class _Stream:
    """Pieces of one stream, by where they begin."""

    def __init__(self) -> None:
        self.size = 0
        self.digests: dict[tuple[int, int], str] = {}
        self._starts: list[int] = []
        self._drawn: dict[int, Drawn] = {}

    def get(self, index: int) -> Drawn | None:
        place = bisect_right(self._starts, index)
        if place == 0:
            return None
        drawn = self._drawn[self._starts[place - 1]]
        return drawn if index < drawn.start + drawn.count else None

    def put(self, drawn: Drawn, cost: int) -> None:
        insort(self._starts, drawn.start)
        self._drawn[drawn.start] = drawn
        self.size += cost
