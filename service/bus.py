"""Tells watchers inside this process that something has changed. What changed is in the store."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Bus"]


class Bus:
    """Wakes everybody who waits for news of a job or a target; belongs to one event loop.

    News of other servers come in by `neighbours`.
    """

    def __init__(self) -> None:
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @property
    def watched(self) -> list[str]:
        """What anybody waits for news of."""
        return list(self._watchers)

    def publish(self, name: str) -> None:
        """There are news, committed: for a job new events, for a target its state."""
        for wake in self._watchers.get(name, ()):
            wake.set()

    def publish_all(self) -> None:
        """Wake every watcher, for example because the server is stopping."""
        for name in list(self._watchers):
            self.publish(name)

    @contextmanager
    def subscribe(self, name: str) -> Iterator[asyncio.Event]:
        """An event that is set with every `publish` of the name; the watcher clears it before it reads."""
        wake = asyncio.Event()
        self._watchers[name].add(wake)
        try:
            yield wake
        finally:
            self._watchers[name].discard(wake)
            if not self._watchers[name]:
                del self._watchers[name]
