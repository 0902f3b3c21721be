"""Follows a job: every stored event once and in order, from any point, then live; bookmarks while it is quiet.

Metrics are stored at a bounded rate and read in pages, so a slow reader costs no memory.
"""

import asyncio
from collections.abc import AsyncIterator

from gephyra.protos import training_service_pb2 as pb

from . import jobs
from .config import TENANT
from .convert import to_event
from .core import Core
from .errors import bad_field
from .store import jobs as job_store
from .store.records import TERMINAL

__all__ = ["watch"]

_PAGE = 256


async def watch(core: Core, name: str, after: int) -> AsyncIterator[pb.TrainingEvent]:
    """Events of a job beyond sequence `after`; ends after the event of a terminal state.

    Raises NotFound, InvalidArgument for a sequence that the job has not reached, Unavailable when the server stops.
    """
    job = await core.store.read(jobs.find, name)
    if not 0 <= after <= job.last_sequence:
        raise bad_field("after_sequence", f"expected 0 to {job.last_sequence}, the latest event; got {after}")
    with core.bus.subscribe(name) as wake:
        while True:
            wake.clear()
            # The state is read before the events: once it is terminal, no further event can follow.
            job = await core.store.read(jobs.find, name)
            events = await core.store.read(job_store.events_after, TENANT, name, after, _PAGE)
            for event in events:
                yield to_event(event)
                after = event.sequence
            if job.state in TERMINAL and after >= job.last_sequence:
                return
            core.refuse_if_stopping()
            if not events and not await _woken(wake, core.config.timings.bookmark):
                yield _bookmark(after, job.attempt, core.clock())


async def _woken(wake: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await wake.wait()
    except TimeoutError:
        return False


def _bookmark(sequence: int, attempt: int, now: int) -> pb.TrainingEvent:
    event = pb.TrainingEvent(sequence=sequence, attempt=attempt, bookmark=pb.Bookmark())
    event.time.FromMicroseconds(now)
    return event
