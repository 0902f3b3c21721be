"""The time of day, which goes forward whatever is done to the system's clock."""

import threading
import time
from collections.abc import Callable

__all__ = ["Clock"]

# Where the system's clock was set back, of the seconds that pass.
_PACE = 0.5


class Clock:
    """Microseconds since 1970, never less than before.

    A system clock that is set forward is followed at once. Where it is set back, time goes on at half its pace until
    the system's has come that far: what happens later has a later time, and the error goes away by itself.
    """

    def __init__(
        self, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._time, self._read = wall(), monotonic()
        self._lock = threading.Lock()

    def __call__(self) -> int:
        """The time now."""
        with self._lock:
            read = self._monotonic()
            self._time = max(self._wall(), self._time + int(_PACE * (read - self._read)))
            self._read = read
            return self._time // 1000
