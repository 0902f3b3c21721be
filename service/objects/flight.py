"""One thing at a time for each key: whoever asks for what is under way waits for that."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["SingleFlight"]

_THREADS = 4


class SingleFlight:
    """Runs `work(key)` on threads of its own, once for all who ask while it runs."""

    def __init__(self, work: Callable[[str], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._running: dict[str, Future[None]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "gephyra-objects")

    def begin(self, key: str) -> "Future[None]":
        """The run that is under way, or a new one; it must not be cancelled."""
        with self._lock:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = self._threads.submit(self._run, key)
            return running

    def _run(self, key: str) -> None:
        try:
            self._work(key)
        finally:
            with self._lock:
                del self._running[key]
