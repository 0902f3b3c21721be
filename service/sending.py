"""What keeps many streams of chunks from holding up everybody else on the event loop."""

import asyncio
from typing import Self

__all__ = ["Lanes", "Turn"]

# Between two steps of any other call, each lane makes one chunk.
_LANES = 4
# A reader that takes its time does not keep its lane.
_SLOW_SECONDS = 0.02


class Lanes:
    """Lets a few streams make and send a chunk at the same time, in the order in which they ask."""

    def __init__(self, count: int = _LANES) -> None:
        self._free = asyncio.Semaphore(count)

    def turn(self) -> "Turn":
        """Goes around making a chunk and handing it over; the lane is free again after that, or after a moment."""
        return Turn(self._free)


class Turn:
    """A lane for one chunk: `async with`, once."""

    __slots__ = ("_free", "_late", "_left")

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free, self._left = free, False

    async def __aenter__(self) -> Self:
        await self._free.acquire()
        self._late = asyncio.get_running_loop().call_later(_SLOW_SECONDS, self._leave)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._late.cancel()
        self._leave()

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._free.release()
