"""How long, and after which errors, a broken stream is tried again."""

import asyncio
import math

from .errors import Cancelled, GephyraError, Internal

__all__ = ["Patience"]

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


class Patience:
    """Waits longer and longer between attempts; gives up after `seconds` without progress."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._position: int | None = None
        self._deadline = math.inf
        self._pause = _FIRST_PAUSE

    async def wait(self, error: GephyraError, position: int) -> None:
        """Wait before the next attempt; raises `error` if that would not help.

        Args:
            error: What broke the stream.
            position: How far the stream has come; a new position renews the patience.
        """
        now = asyncio.get_running_loop().time()
        if position != self._position:
            self._position, self._deadline, self._pause = position, now + self._seconds, _FIRST_PAUSE
        if not _breaks_streams(error) or now + self._pause > self._deadline:
            raise error
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)


def _breaks_streams(error: GephyraError) -> bool:
    """True for errors of the transport: the server explains its own, the transport does not."""
    return error.retryable or (isinstance(error, Internal | Cancelled) and not error.reason)
