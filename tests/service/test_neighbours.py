"""Two servers on one PostgreSQL and one folder: what one does the other knows at once, and what one leaves it takes."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from gephyra.protos import sampler_service_pb2, target_service_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.settings import TrainingSettings
from gephyra.service import jobs
from gephyra.service.config import TENANT, ServerConfig, Timings
from gephyra.service.server import Server
from gephyra.service.store import jobs as job_store
from gephyra.service.store.places import Notice
from gephyra.service.store.postgresql import PostgreSql
from gephyra.service.store.records import JobRecord, JobState
from gephyra.service.watch import watch as follow
from tests.chaos.host import Host
from tests.chaos.impatient import LEASE
from tests.support.server import Stubs, create_job, gaussian, get_job, register, wait_for, watch

LONG = pb.TrainingConfig(seconds=600.0, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_NONE)


@pytest.fixture
def pair(url: str, tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Two servers with a slot each, whose leases are short."""
    command = ("tests.chaos.impatient", f"{LEASE}")
    hosts = tuple(Host(tmp_path / n, command, ("--database-url", url), data=tmp_path / "data") for n in ("one", "two"))
    for host in hosts:
        host.launch()
    for host in hosts:
        wait_for(host.serving, what="a server")
    yield hosts[0], hosts[1]
    for host in hosts:
        host.close()


def of(host: Host) -> set[int]:
    """Processes of the workers of one of the servers."""
    return {child.pid for child in psutil.Process(host.pid).children(recursive=True)}


@pytest.mark.chaos
def test_two_servers_share_a_queue_and_either_is_told_everything(pair: tuple[Host, Host]) -> None:
    one, two = pair
    with grpc.insecure_channel(one.address) as first, grpc.insecure_channel(two.address) as second:
        here, there = Stubs.on(first), Stubs.on(second)
        # Registered at one, checked once, known at both.
        register(there, gaussian(2), "some-target")
        names = [create_job(here, "targets/some-target", LONG).name for _ in range(3)]
        wait_for(lambda: all(get_job(there, job).metrics.step > 0 for job in names[:2]), what="two jobs at work")
        assert get_job(here, names[2]).state == pb.JOB_STATE_QUEUED
        # Whichever server has it, and whichever is asked.
        for job in names[:2]:
            for stubs in (here, there):
                step, started = get_job(stubs, job).metrics.step, time.monotonic()
                stream = stubs.training.WatchTrainingJob(pb.WatchTrainingJobRequest(name=job))
                assert next(each for each in stream if each.event.metrics.step > step).event.attempt == 1
                # A bookmark would come after 15 s.
                assert time.monotonic() - started < 10
                stream.cancel()
        for job, stubs in zip(names, (there, here, there), strict=True):
            stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job))
        for job in names:
            events = watch(here, job)
            assert events == watch(there, job)
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            assert events[-1].state == pb.JOB_STATE_CANCELLED
    assert [host.stop() for host in pair] == [0, 0]
    assert one.workers() == []
    assert one.litter() == []


@pytest.mark.chaos
@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_what_a_server_leaves_goes_on_at_the_other(pair: tuple[Host, Host], kill: bool) -> None:
    one, two = pair
    with grpc.insecure_channel(one.address) as first, grpc.insecure_channel(two.address) as second:
        here, there = Stubs.on(first), Stubs.on(second)
        register(here, gaussian(2), "some-target")
        job = create_job(here, "targets/some-target", LONG).name
        wait_for(lambda: get_job(here, job).metrics.step > 0, what="a first step")
        leaving, staying, stubs = (one, two, there) if len(of(one)) > len(of(two)) else (two, one, here)
        if kill:
            leaving.kill()
        else:
            assert leaving.stop(30) == 0
        taken = wait_for(lambda: get_job(stubs, job).attempt == 2, what="the second attempt")
        # Long before a lease runs out, as its lock shows that it is dead.
        assert taken < LEASE
        wait_for(lambda: get_job(stubs, job).metrics.step > 0, what="a further step")
        stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job))
        assert watch(stubs, job)[-1].state == pb.JOB_STATE_CANCELLED
        wait_for(lambda: len(list((one.data / "servers").iterdir())) == 1, what="nothing of the dead server")
    assert staying.stop() == 0
    assert one.workers() == []
    assert one.litter() == []


@pytest.mark.chaos
def test_a_server_that_was_stopped_past_its_lease_wakes_up_and_changes_nothing(pair: tuple[Host, Host]) -> None:
    """Nobody can know that it is not dead: its job goes on elsewhere, and what it does then is refused (P3)."""
    one, two = pair
    with grpc.insecure_channel(one.address) as first, grpc.insecure_channel(two.address) as second:
        here, there = Stubs.on(first), Stubs.on(second)
        register(here, gaussian(2), "some-target")
        job = create_job(here, "targets/some-target", LONG).name
        wait_for(lambda: get_job(here, job).metrics.step > 0, what="a first step")
        paused, stubs = (one, there) if len(of(one)) > len(of(two)) else (two, here)
        process, workers = psutil.Process(paused.pid), of(paused)
        process.suspend()
        wait_for(lambda: get_job(stubs, job).attempt == 2 and get_job(stubs, job).metrics.step > 0, what="a takeover")
        process.resume()
        wait_for(lambda: "is given up" in paused.log.read_text() or not of(paused) & workers, what="its giving up")
        before = get_job(stubs, job).metrics.step
        wait_for(lambda: get_job(stubs, job).metrics.step > before, what="further steps")
        assert get_job(stubs, job).attempt == 2
        stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job))
        events = watch(stubs, job)
    assert [event.attempt for event in events] == sorted(event.attempt for event in events)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [host.stop() for host in pair] == [0, 0]
    assert one.litter() == []


async def test_news_that_were_not_heard_are_asked_for(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second: here nobody hears anything."""

    async def deaf(self: PostgreSql) -> AsyncGenerator[Notice, None]:
        yield Notice("", "")
        await asyncio.Event().wait()

    monkeypatch.setattr(PostgreSql, "notices", deaf)
    config = ServerConfig(tmp_path, "127.0.0.1:0", database_url=url, timings=Timings(bookmark=60.0))
    one, two = Server(config), Server(config)
    await one.start()
    await two.start()
    # It fails, as there is no such target.
    job = JobRecord("job-lost", "uid", "no-target", "00" * 32, TrainingSettings(), JobState.QUEUED, 1)
    await one._core.store.write(job_store.add, TENANT, job, b"")

    async def last() -> Any:
        return [event async for event in follow(one._core, job.name, 1)]

    watching = asyncio.create_task(last())
    await _until(lambda: bool(one._core.bus.watched))
    # The second server finds it by itself, and what it does the watcher at the first one sees.
    await _until(lambda: one._core.store.read_now(jobs.find, job.name).state is JobState.FAILED)
    events = await asyncio.wait_for(watching, 20)
    assert events[-1].state == pb.JOB_STATE_FAILED
    await one.stop()
    await two.stop()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.mark.chaos
def test_what_one_made_the_other_serves(pair: tuple[Host, Host]) -> None:
    """An upload that broke at one goes on at the other; draws are the same at both (P7)."""
    one, two = pair
    with grpc.insecure_channel(one.address) as first, grpc.insecure_channel(two.address) as second:
        here, there = Stubs.on(first), Stubs.on(second)
        target = register(here, gaussian(2), "some-target")
        job = create_job(there, target.name, pb.TrainingConfig(iterations=10, batch_size=16, steps=4, width=8)).name
        watch(here, job)
        request = sampler_service_pb2.DrawSamplesRequest(sampler=get_job(there, job).sampler, count=300, seed=4)
        drawn = [[m.chunk.x.data for m in stubs.sampling.DrawSamples(request)] for stubs in (here, there)]
        assert drawn[0] == drawn[1]
        there.target.GetTarget(target_service_pb2.GetTargetRequest(name=target.name))


async def test_a_clock_that_is_set_forward_takes_no_job_from_a_server_that_lives(url: str, tmp_path: Path) -> None:
    """All leases have ended then. Those that are renewed in the next moment were not late (P15)."""
    seconds = 2.0
    server = Server(ServerConfig(tmp_path, "127.0.0.1:0", database_url=url, timings=Timings(lease=seconds)))
    looking = server._neighbours
    alive, hung = {"job-one": 5}, {"job-two": 6}
    assert looking._not_renewed(alive | hung) == {}
    await asyncio.sleep(0.3 * seconds)
    assert looking._not_renewed({"job-one": 7, **hung}) == {}
    await asyncio.sleep(0.3 * seconds)
    assert looking._not_renewed({"job-one": 7, **hung}) == hung
    # It was in time again, and is late anew.
    assert looking._not_renewed({}) == {}
    assert looking._not_renewed(hung) == {}
    await server.start()
    await server.stop()
