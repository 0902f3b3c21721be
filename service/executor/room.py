"""A capacity that several share: who needs more than is left waits, first come, first served."""

import asyncio
from collections import deque

from .base import NoPlace, Resources

__all__ = ["Room"]


class Room:
    """Of `capacity`, what is taken.

    Attributes:
        capacity: As given.
        taken: Never more than that.
    """

    def __init__(self, capacity: Resources) -> None:
        self.capacity = capacity
        self.taken = Resources(0, 0)
        self._waiting: deque[tuple[Resources, asyncio.Future[None]]] = deque()

    async def take(self, needs: Resources) -> None:
        """Wait for room and take it. Cancelled, it has taken nothing. Raises NoPlace where it will never be enough."""
        if not self.capacity.holds(needs):
            raise NoPlace(f"a worker needs {needs}, and all there is are {self.capacity}")
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((needs, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.give(needs)
            else:
                self._waiting.remove((needs, granted))
                self._grant()
            raise

    def give(self, needs: Resources) -> None:
        """Give back what was taken."""
        self.taken = self.taken - needs
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self.capacity.holds(self.taken + self._waiting[0][0]):
            needs, granted = self._waiting.popleft()
            self.taken = self.taken + needs
            granted.set_result(None)
