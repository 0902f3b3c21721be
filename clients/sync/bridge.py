"""Runs the asyncio client for callers without an event loop: one loop, on one daemon thread.

The caller's thread only waits, so Ctrl-C reaches it; the coroutine is then cancelled and given a moment to end.
"""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

__all__ = ["Bridge"]

T = TypeVar("T")

_CANCEL_SECONDS = 5.0


class Bridge:
    """A private event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gephyra-client", daemon=True)
        self._thread.start()
        self._pid = os.getpid()

    @property
    def closed(self) -> bool:
        """True after `close`, and in a forked child, where there is nothing to close."""
        return self._loop.is_closed() or self._pid != os.getpid()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, or its exception.

        Raises RuntimeError once the bridge is closed, in a forked child (threads do not survive a fork), and on
        the loop's own thread.
        """
        if self.closed or threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("this client is closed or belongs to another process; make a new one")
        ended = threading.Event()

        async def tracked() -> T:
            try:
                return await coroutine
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(tracked(), self._loop)
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                ended.wait(_CANCEL_SECONDS)
            raise

    def iterate(self, generator: AsyncGenerator[T, None]) -> Iterator[T]:
        """The items of an asynchronous generator, one at a time; closes it however the iteration ends."""

        async def following() -> list[T]:
            """The next item, or none."""
            try:
                return [await anext(generator)]
            except StopAsyncIteration:
                return []

        try:
            while item := self.run(following()):
                yield item[0]
        finally:
            if not self.closed:
                self.run(generator.aclose())

    def close(self) -> None:
        """Stop the loop and its thread; does nothing the second time."""
        if self.closed:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
