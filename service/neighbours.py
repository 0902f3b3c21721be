"""Other servers on the same database: what they change is heard here, and what the dead among them left is taken over.

News come by NOTIFY, and for the case that one is missed by asking every second. A server on SQLite is alone.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from . import jobs
from .checks import Checks
from .config import TENANT
from .core import Core
from .presence import Presence
from .store import jobs as job_store
from .store.places import Notice
from .store.records import JobState, TargetState
from .supervisor import Supervisor
from .workspace import sweep

__all__ = ["Neighbours", "clean", "sweep_jobs"]

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.25
_POLL_SECONDS = 1.0
# Of a lease; but the death of a server of this machine is seen sooner than a lease runs out.
_LOOKS, _LOOK_SECONDS = 4, 5.0
_HOUR = 3600.0
# Of a lease, beyond its end, before a job is taken over: more than the third after which it is renewed.
_LATE = 0.5


class Neighbours:
    """Listens and looks from `start` to `stop`; does neither where the database is not shared."""

    def __init__(self, core: Core, supervisor: Supervisor, checks: Checks, presence: Presence) -> None:
        self._core, self._supervisor, self._checks, self._presence = core, supervisor, checks, presence
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: dict[str, job_store.Position] = {}
        self._late: dict[str, tuple[int | None, float]] = {}
        self._reactions: Mapping[str, Callable[[str], Awaitable[None]]] = {
            JobState.QUEUED.value: self._on_queued,
            JobState.CANCELLING.value: self._on_cancelling,
            job_store.PAUSING: self._on_pausing,
            TargetState.CHECKING.value: self._checks.begin,
        }

    async def start(self) -> None:
        """Begin, once the supervisor and the checks have."""
        if self._core.store.place.shared:
            looks = min(self._core.config.timings.lease / _LOOKS, _LOOK_SECONDS)
            self._keep(self._listen())
            self._keep(self._repeat(self._poll, _POLL_SECONDS))
            self._keep(self._repeat(self._look, looks))

    async def stop(self) -> None:
        """Hear of nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _repeat(self, work: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception as error:
                logger.warning("%s: %s", work.__name__.strip("_"), error)

    async def _listen(self) -> None:
        """Hear what others announce, in one session after another."""
        while True:
            try:
                async with aclosing(self._core.store.place.notices()) as notices:
                    async for notice in notices:
                        await self._hear(notice)
            except Exception as error:
                logger.warning("not listening to other servers for a moment: %s", error)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _hear(self, notice: Notice) -> None:
        if not notice.name:
            self._core.bus.publish_all()
            self._supervisor.wake()
            return
        self._core.bus.publish(notice.name)
        reaction = self._reactions.get(notice.state)
        if reaction is not None:
            await reaction(notice.name)

    async def _on_queued(self, name: str) -> None:
        self._supervisor.wake()

    async def _on_cancelling(self, name: str) -> None:
        self._supervisor.cancel(name)

    async def _on_pausing(self, name: str) -> None:
        self._supervisor.pause(name)

    async def _poll(self) -> None:
        """Ask what could have been heard."""
        names = {*self._core.bus.watched, *self._supervisor.running}
        found = await self._core.store.read(job_store.positions, TENANT, names)
        for name, position in found.items():
            if self._known.get(name) != position:
                await self._hear(Notice(name, position.word))
        self._known = found
        if JobState.QUEUED in await self._core.store.read(job_store.counts, TENANT):
            self._supervisor.wake()

    async def _look(self) -> None:
        """Take over what is nobody's any more."""
        core = self._core
        await asyncio.to_thread(self._presence.touch)
        dead = await asyncio.to_thread(self._presence.dead)
        late = self._not_renewed(await core.store.read(jobs.late, core.clock()))
        if late or dead & await core.store.read(jobs.owners):
            lost = await core.store.write(jobs.take_back, core.clock(), dead, late)
            logger.warning("taken over from servers that are gone: %s", ", ".join(lost))
            for name in lost:
                core.bus.publish(name)
            self._supervisor.wake()
        await self._checks.start()
        if dead:
            await asyncio.to_thread(clean, core, self._presence)
        if dead or late:
            await sweep_jobs(core)
        if dead:
            await asyncio.to_thread(self._presence.forget, dead)

    def _not_renewed(self, late: Mapping[str, int | None]) -> dict[str, int | None]:
        """Those of the leases that ended and have not changed for a while.

        Where the clock was set forward all of them have ended, and are renewed soon by who is alive.
        """
        now, patience = asyncio.get_running_loop().time(), self._core.config.timings.lease * _LATE
        known, self._late = self._late, {}
        for name, lease in late.items():
            seen, since = known.get(name, (lease, now))
            # Its own may just be late: as long as nobody takes the job, the lease is renewed.
            if name not in self._supervisor.running:
                self._late[name] = (lease, since if seen == lease else now)
        return {name: lease for name, (lease, since) in self._late.items() if now - since >= patience}


def clean(core: Core, presence: Presence) -> None:
    """Drop what servers that are gone had begun to write. Blocking."""
    for each in (core.artefacts, core.uploads.whole, core.datasets):
        each.clean(presence.gone)


async def sweep_jobs(core: Core) -> None:
    """Drop what only a further attempt at a job would need, of jobs that have ended, and what is of no job."""
    # In this order: another server may be making one.
    folders = await asyncio.to_thread(lambda: list(core.jobs_folder.glob("*")))
    states = await core.store.read(job_store.states)
    await asyncio.to_thread(sweep, [each for each in folders if each.name in states or _old(core, each)], states)


def _old(core: Core, folder: Path) -> bool:
    """Whether a folder of no job is not one of a job that another server is just making."""
    try:
        return not core.store.place.shared or time.time() - folder.stat().st_mtime > _HOUR
    except FileNotFoundError:
        return False
