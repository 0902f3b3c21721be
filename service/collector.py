"""Sweeps a running server's content from time to time, and brings to the objects what they lack."""

import asyncio
import logging
from contextlib import suppress

from .core import Core
from .garbage import Rows, sweep
from .holdings import Holdings
from .reach import needed
from .store.roots import roots

__all__ = ["Collector", "push"]

logger = logging.getLogger(__name__)


class Collector:
    """A sweep on a thread every `Timings.collect` seconds, the first an hour after the start at the latest."""

    def __init__(self, core: Core, holdings: Holdings) -> None:
        self._core = core
        self._holdings = holdings
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to wait for the first."""
        self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """End a sweep after the piece that it is at; `Core.stopping` is true by then."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        period = self._core.config.timings.collect
        pause = min(3600.0, period)
        while True:
            await asyncio.sleep(pause)
            sweeping = asyncio.create_task(asyncio.to_thread(self._sweep))
            try:
                await asyncio.shield(sweeping)
            except asyncio.CancelledError:
                await sweeping
                raise
            pause = period

    def _sweep(self) -> None:
        core = self._core
        rows = Rows(core.store.read_now, core.store.write_now)
        try:
            swept = sweep(
                self._holdings, rows, core.clock() / 1e6, core.config.timings.grace, lambda: not core.stopping
            )
        except Exception:
            # Whatever it is, there is another day.
            logger.exception("what nothing needs could not be swept")
            return
        logger.info("swept %d files that nothing needs, %d bytes", len(swept.pieces), swept.size)
        for digest in swept.unreadable:
            logger.error("the definition %s is missing or damaged: `gephyra db check` says more", digest)


def push(core: Core, holdings: Holdings) -> int:
    """Bring needed content to the objects that has not got there: from before there were any. How many; blocking.

    Raises Unavailable.
    """
    if not holdings.artefacts.objects.elsewhere:
        return 0
    found = core.store.read_now(roots, 0)
    reach, count = needed(found, holdings.artefacts.peek), 0
    for store, wanted in (
        (holdings.artefacts, reach.artefacts),
        (holdings.datasets, reach.datasets),
        (holdings.uploads.whole, found.blobs),
    ):
        kept = {each.key for each in store.kept()}
        for digest in sorted(wanted - kept):
            # What is nowhere, `gephyra db check` tells.
            count += store.hold(digest) is not None
    if count:
        logger.info("brought %d files to %s", count, holdings.artefacts.objects.name)
    return count
