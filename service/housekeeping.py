"""What a server does from time to time: lets the oldest events of long and of old jobs go."""

import asyncio
import logging

from .config import TENANT
from .core import Core
from .store import history

__all__ = ["Housekeeping", "compact"]

logger = logging.getLogger(__name__)

# Of a job that ended long ago: its end and what led to it.
_ENDED = 100
# Events that go in one transaction, so that other writers are not held up.
_BATCH = 1000


class Housekeeping:
    """A task in the background. `start` once, `stop` once."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a first round at once."""
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End; what is half done is done the next time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            try:
                await compact(self._core)
            except Exception:
                # Without this task the database would grow for ever.
                logger.exception("old events cannot be dropped; trying again later")
            await asyncio.sleep(self._core.config.timings.compact)


async def compact(core: Core) -> int:
    """Drop the events that are not to be kept, a batch a transaction; how many there were. Raises Unavailable."""
    most, horizon = core.config.limits.keep_events, core.clock() - int(core.config.timings.history * 1e6)
    dropped = 0
    for found in await core.store.read(history.surplus, TENANT, most, _ENDED, horizon):
        for before in [*range(found.first + _BATCH, found.keep, _BATCH), found.keep]:
            await core.store.write(history.drop, found.job, before)
        dropped += found.keep - found.first
    return dropped
