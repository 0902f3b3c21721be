"""Watching a job: replay, live events, bookmarks, the end, and a server that stops."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.settings import TrainingSettings
from gephyra.service import convert, jobs
from gephyra.service.artefacts import Artefacts
from gephyra.service.bus import Bus
from gephyra.service.config import TENANT, Limits, ServerConfig, Timings
from gephyra.service.core import Core
from gephyra.service.errors import InvalidArgument, NotFound, OutOfRange, Reason, Unavailable
from gephyra.service.housekeeping import Housekeeping, compact
from gephyra.service.pool import Pool
from gephyra.service.store import jobs as job_store
from gephyra.service.store.database import Store
from gephyra.service.store.records import JobRecord, JobState, StoredEvent
from gephyra.service.uploads import Uploads
from gephyra.service.watch import watch
from tests.support.wire import METRICS

KEEP = 400
LIMITS = Limits(keep_events=KEEP)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    """A server without servicers, with a job of one event."""
    config = ServerConfig(tmp_path, "unix:/nowhere", timings=Timings(bookmark=0.1, metrics=0.001), limits=LIMITS)
    store, artefacts = Store(tmp_path / "db"), Artefacts(tmp_path)
    uploads, pool = Uploads(tmp_path / "uploads"), Pool(1, tmp_path, tmp_path)
    core = Core(config, store, artefacts, uploads, artefacts, pool, Bus(), lambda: 1)
    job = JobRecord("job", "uid", "target", "", TrainingSettings(), JobState.QUEUED, 1)
    store.write_now(job_store.add, TENANT, job, convert.job_state_event(JobState.QUEUED, 0, 1))
    yield core
    store.close()


async def log(core: Core, text: str) -> None:
    await core.store.write(job_store.record, TENANT, "job", 0, convert.log_event(text, 0, 1))
    core.bus.publish("job")


async def metrics(core: Core, count: int) -> None:
    """So many events of metrics, stored at once."""

    def add(connection: Connection) -> None:
        for _ in range(count):
            job_store.record(connection, TENANT, "job", 0, convert.metrics_event(METRICS, 0, 1))

    await core.store.write(add)
    core.bus.publish("job")


async def cancel(core: Core, now: int = 2) -> None:
    await core.store.write(jobs.cancel, "job", "", "", now)
    core.bus.publish("job")


async def following(core: Core, after: int = 0) -> AsyncIterator[pb.TrainingEvent]:
    """Events without bookmarks."""
    async for event in watch(core, "job", after):
        if event.WhichOneof("event") != "bookmark":
            yield event


async def test_quiet_watchers_get_bookmarks_that_are_not_stored(core: Core) -> None:
    events = watch(core, "job", 0)
    assert (await anext(events)).state == pb.JOB_STATE_QUEUED
    for _ in range(2):
        bookmark = await anext(events)
        assert (bookmark.WhichOneof("event"), bookmark.sequence) == ("bookmark", 1)
    await log(core, "news")
    assert (await anext(events)).log == "news"
    assert (await anext(events)).sequence == 2
    assert len(await core.store.read(job_store.events_after, TENANT, "job", 0, 10)) == 2


async def test_every_watcher_sees_every_event_once_and_then_the_end(core: Core) -> None:
    async def collect(after: int) -> list[int]:
        return [event.sequence async for event in following(core, after)]

    watchers = [asyncio.create_task(collect(after)) for after in (0, 0, 1)]
    for n in range(270):
        await log(core, str(n))
    late = asyncio.create_task(collect(100))
    await cancel(core)
    seen = await asyncio.wait_for(asyncio.gather(*watchers, late), 30)
    everything = list(range(1, 273))
    assert seen == [everything, everything, everything[1:], everything[100:]]
    assert await collect(272) == []


async def test_a_watcher_of_a_stopping_server_is_sent_away_after_the_last_event(core: Core) -> None:
    seen: list[int] = []

    async def collect() -> None:
        async for event in following(core):
            seen.append(event.sequence)

    task = asyncio.create_task(collect())
    await asyncio.sleep(0.05)
    await log(core, "put back")
    core.stopping = True
    core.bus.publish_all()
    with pytest.raises(Unavailable) as sent_away:
        await asyncio.wait_for(task, 10)
    assert sent_away.value.reason == Reason.SERVER_STOPPING
    assert seen == [1, 2]


async def test_only_what_has_happened_can_be_replayed(core: Core) -> None:
    for after in (-1, 2):
        with pytest.raises(InvalidArgument) as refused:
            await anext(following(core, after))
        assert refused.value.violations[0].field == "after_sequence"
    with pytest.raises(NotFound):
        await anext(aiter(watch(core, "other", 0)))


async def read_all(core: Core, seconds: float) -> list[pb.TrainingEvent]:
    """Every event, to a reader that thinks for so long about each."""
    seen = []
    async for event in following(core):
        seen.append(event)
        await asyncio.sleep(seconds)
    return seen


def stands_for(events: list[pb.TrainingEvent]) -> list[int]:
    """The sequence numbers that a watch sent or accounted for, in its order."""
    return [n for event in events for n in range(event.sequence - event.coalesced, event.sequence + 1)]


async def test_a_reader_that_keeps_up_gets_every_event(core: Core) -> None:
    await metrics(core, 600)
    await cancel(core)
    events = await read_all(core, 0)
    assert [event.sequence for event in events] == list(range(1, 603))
    assert not any(event.coalesced for event in events)


async def test_a_slow_reader_gets_the_newest_metrics_and_can_account_for_the_rest(core: Core) -> None:
    for n in range(3):
        await metrics(core, 300)
        await log(core, f"said {n}")
    await cancel(core)
    events = await read_all(core, 0.002)
    assert stands_for(events) == list(range(1, 906))
    assert len(events) < 600
    assert [event.log for event in events if event.HasField("log")] == [f"said {n}" for n in range(3)]
    assert all(event.HasField("metrics") for event in events if event.coalesced)
    assert events[-1].state == pb.JOB_STATE_CANCELLED


async def test_a_reader_that_stands_still_holds_one_page(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    page = job_store.events_after

    def counted(*arguments: Any) -> list[StoredEvent]:
        nonlocal read
        found = page(*arguments)
        read += len(found)
        return found

    monkeypatch.setattr(job_store, "events_after", counted)
    await metrics(core, 600)
    events = watch(core, "job", 0)
    await anext(aiter(events))
    await metrics(core, 600)
    await asyncio.sleep(0.1)
    assert read == 256


async def test_of_a_long_history_the_newest_events_are_kept(core: Core) -> None:
    await metrics(core, 2 * KEEP)
    assert await compact(core) == KEEP + 1
    oldest = KEEP + 2
    for after in (0, oldest - 2):
        with pytest.raises(OutOfRange) as refused:
            await anext(aiter(watch(core, "job", after)))
        assert refused.value.reason == Reason.EVENTS_COMPACTED
        assert refused.value.metadata == {"oldest_sequence": str(oldest)}
    assert await compact(core) == 0
    await cancel(core)
    assert [event.sequence async for event in following(core, oldest - 1)] == list(range(oldest, 2 * KEEP + 3))


async def test_a_watcher_that_compaction_overtakes_is_told(core: Core) -> None:
    await metrics(core, 2 * KEEP)
    events = aiter(watch(core, "job", 0))
    for _ in range(10):
        await anext(events)
    await compact(core)
    with pytest.raises(OutOfRange):
        _ = [event async for event in events]


async def test_of_jobs_that_ended_long_ago_the_end_is_kept(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    await metrics(core, 200)
    await cancel(core, now=1000)
    month = 30 * 24 * 3600 * 10**6
    for now, dropped in ((month, 0), (1001 + month, 102)):
        monkeypatch.setattr(core, "clock", lambda now=now: now)
        assert await compact(core) == dropped
    assert [event.sequence async for event in following(core, 102)] == list(range(103, 203))


async def test_compaction_goes_on_by_itself_also_after_a_failure(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "config", replace(core.config, timings=replace(core.config.timings, compact=0.02)))
    read, failures = core.store.read, [RuntimeError("no database")]

    async def failing(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await read(*arguments)

    monkeypatch.setattr(core.store, "read", failing)
    await metrics(core, 2 * KEEP)
    housekeeping = Housekeeping(core)
    housekeeping.start()
    async with asyncio.timeout(10):
        while len(await read(job_store.events_after, TENANT, "job", 0, 10**6)) > KEEP:
            await asyncio.sleep(0.02)
    await housekeeping.stop()
