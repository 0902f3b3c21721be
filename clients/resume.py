"""How long, and after which errors, a broken stream or a call that was not served is tried again."""

import asyncio
import math
import random

from .errors import Cancelled, GephyraError, Internal, ServerBusy

__all__ = ["Patience"]

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
# Many who were sent away at the same time do not come back at the same time.
_SPREAD = 0.2


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
        # A server that stops has a time to come back too, but another may be there at once.
        pause = max(self._pause, error.retry_seconds if isinstance(error, ServerBusy) else 0.0)
        if not _breaks_streams(error) or now + pause > self._deadline:
            raise error
        # Not the caller's random numbers: those are the caller's.
        await asyncio.sleep(pause * random.SystemRandom().uniform(1 - _SPREAD, 1 + _SPREAD))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)


def _breaks_streams(error: GephyraError) -> bool:
    """True for errors of the transport: the server explains its own, the transport does not."""
    return error.retryable or (isinstance(error, Internal | Cancelled) and not error.reason)
