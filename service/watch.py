"""Follows a job: every stored event once and in order, from any point, then live; bookmarks while it is quiet.

Events are read in pages, each handed over before the next is read, so a slow reader costs no memory. One that is slower
than events are made would be late for ever: of metrics in a row it gets the newest, which says how many it stands for.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

from gephyra.protos import training_service_pb2 as pb

from . import jobs
from .config import TENANT
from .convert import to_event
from .core import Core
from .errors import OutOfRange, Reason, bad_field
from .store import jobs as job_store
from .store.records import TERMINAL, StoredEvent

__all__ = ["watch"]

_PAGE = 256


async def watch(core: Core, name: str, after: int) -> AsyncIterator[pb.TrainingEvent]:
    """Events of a job beyond sequence `after`; ends after the event of a terminal state.

    Raises NotFound, InvalidArgument for a sequence that the job has not reached, OutOfRange for one whose next event is
    not kept any more (EVENTS_COMPACTED), Unavailable when the server stops.
    """
    job = await core.store.read(jobs.find, name)
    if not 0 <= after <= job.last_sequence:
        raise bad_field("after_sequence", f"expected 0 to {job.last_sequence}, the latest event; got {after}")
    pace = _Pace(core.config.timings.metrics)
    with core.bus.subscribe(name) as wake:
        while True:
            wake.clear()
            # The state is read before the events: once it is terminal, no further event can follow.
            job = await core.store.read(jobs.find, name)
            events = await core.store.read(job_store.events_after, TENANT, name, after, _PAGE)
            _check_whole(name, after, events)
            pace.begin()
            for event in _coalesced(events) if pace.slow and len(events) == _PAGE else map(to_event, events):
                yield event
                pace.sent()
                after = event.sequence
            if job.state in TERMINAL and after >= job.last_sequence:
                return
            core.refuse_if_stopping()
            if not events and not await _woken(wake, core.config.timings.bookmark):
                yield _bookmark(after, job.attempt, core.clock())


class _Pace:
    """Whether a reader takes longer for an event than a job at work for the next one."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._clock = seconds, asyncio.get_running_loop().time
        self._began, self._last, self._sent, self.slow = 0.0, 0.0, 0, False

    def begin(self) -> None:
        """A page is about to be handed over; judges the one before."""
        if self._sent:
            self.slow = self._last - self._began > self._seconds * self._sent
        self._began, self._sent = self._clock(), 0

    def sent(self) -> None:
        """An event was handed over."""
        self._last = self._clock()
        self._sent += 1


def _check_whole(name: str, after: int, events: Sequence[StoredEvent]) -> None:
    """Events go from the oldest on, and a terminal state stays: only the first of a page can be missing."""
    if events and events[0].sequence != after + 1:
        oldest = events[0].sequence
        raise OutOfRange(
            Reason.EVENTS_COMPACTED,
            f"events of trainingJobs/{name} before {oldest} are not kept any more; watch after_sequence {oldest - 1}",
            metadata={"oldest_sequence": str(oldest)},
        )


def _coalesced(events: Sequence[StoredEvent]) -> Iterator[pb.TrainingEvent]:
    """The events, of metrics in a row the last."""
    left_out = 0
    for event, following in zip(messages := [to_event(event) for event in events], [*messages[1:], None], strict=True):
        if event.HasField("metrics") and following is not None and following.HasField("metrics"):
            left_out += 1
            continue
        event.coalesced, left_out = left_out, 0
        yield event


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
