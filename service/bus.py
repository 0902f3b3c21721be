"""Tells watchers inside this process that a job has new events. The events themselves are in the store."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Bus"]


class Bus:
    """Wakes every watcher of a job; belongs to one event loop."""

    def __init__(self) -> None:
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def publish(self, job: str) -> None:
        """The job has new events, committed."""
        for wake in self._watchers.get(job, ()):
            wake.set()

    def publish_all(self) -> None:
        """Wake every watcher, for example because the server is stopping."""
        for job in list(self._watchers):
            self.publish(job)

    @contextmanager
    def subscribe(self, job: str) -> Iterator[asyncio.Event]:
        """An event that is set with every `publish` of the job; the watcher clears it before it reads."""
        wake = asyncio.Event()
        self._watchers[job].add(wake)
        try:
            yield wake
        finally:
            self._watchers[job].discard(wake)
            if not self._watchers[job]:
                del self._watchers[job]
