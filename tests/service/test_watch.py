"""Watching a job: replay, live events, bookmarks, the end, and a server that stops."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.settings import TrainingSettings
from gephyra.service import convert, jobs
from gephyra.service.artefacts import Artefacts
from gephyra.service.bus import Bus
from gephyra.service.config import TENANT, ServerConfig, Timings
from gephyra.service.core import Core
from gephyra.service.errors import InvalidArgument, NotFound, Reason, Unavailable
from gephyra.service.pool import Pool
from gephyra.service.store import jobs as job_store
from gephyra.service.store.database import Store
from gephyra.service.store.records import JobRecord, JobState
from gephyra.service.uploads import Uploads
from gephyra.service.watch import watch


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    """A server without servicers, with a job of one event."""
    config = ServerConfig(tmp_path, "unix:/nowhere", timings=Timings(bookmark=0.1))
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


async def cancel(core: Core) -> None:
    await core.store.write(jobs.cancel, "job", "", "", 2)
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
