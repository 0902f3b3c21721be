"""Who runs a job, and until when: claimed, renewed, lost to another server or with the database."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from gephyra.protos import training_service_pb2
from gephyra.samplers.settings import TrainingSettings
from gephyra.service import jobs
from gephyra.service.artefacts import Artefacts
from gephyra.service.bus import Bus
from gephyra.service.config import TENANT, ServerConfig, Timings
from gephyra.service.core import Core
from gephyra.service.errors import Reason, Unavailable
from gephyra.service.lease import keep_lease
from gephyra.service.pool import Pool
from gephyra.service.store import jobs as job_store
from gephyra.service.store.database import Store
from gephyra.service.store.records import JobRecord, JobState
from gephyra.service.uploads import Uploads
from tests.chaos.host import Host
from tests.support.server import Stubs, create_job, gaussian, get_job, register, wait_for

LONG = training_service_pb2.TrainingConfig(
    seconds=600.0, batch_size=16, steps=4, width=8, precondition=training_service_pb2.PRECONDITION_NONE
)
JOB = JobRecord("job", "u", "t", "", TrainingSettings(), JobState.QUEUED, 1)
LEASE = 0.3


def by_one_clock(store: Store, now: int) -> int:
    """The time by which leases go: the database's, or `now`."""
    return store.read_now(lambda connection: store.place.moment(connection, now))


def claimed(store: Store, now: int, owner: str = "server-one") -> JobRecord:
    job = store.write_now(jobs.claim, now, owner, now + 100)
    assert job is not None
    return job


def test_who_claims_a_job_owns_it_until_the_attempt_ends(store: Store) -> None:
    store.write_now(job_store.add, TENANT, JOB, b"")
    before = by_one_clock(store, 10)
    first = claimed(store, 10)
    assert (first.attempt, first.owner) == (1, "server-one")
    assert first.lease is not None
    assert before + 100 <= first.lease <= by_one_clock(store, 10) + 100
    before = by_one_clock(store, 11)
    assert store.write_now(jobs.renew, first, 500, 11)
    lease = store.read_now(jobs.find, "job").lease
    assert lease is not None
    assert before + 489 <= lease <= by_one_clock(store, 11) + 489
    store.write_now(jobs.move, first, (JobState.PENDING,), JobState.RUNNING, 11)
    assert store.read_now(jobs.find, "job").owner == "server-one"
    store.write_now(jobs.put_back, first, 12)
    free = store.read_now(jobs.find, "job")
    assert (free.owner, free.lease) == ("", None)
    assert not store.write_now(jobs.renew, first, 900, 13)


def test_an_earlier_attempt_and_another_server_cannot_renew(store: Store) -> None:
    store.write_now(job_store.add, TENANT, JOB, b"")
    first = claimed(store, 10)
    store.write_now(jobs.recover, 12)
    second = claimed(store, 13, "server-two")
    assert not store.write_now(jobs.renew, first, 900, 13)
    assert store.read_now(jobs.find, "job") == second
    assert store.write_now(jobs.renew, second, 700, 13)
    store.write_now(jobs.cancel, "job", "", "", 14)
    # It may take a while to stop.
    assert store.write_now(jobs.renew, second, 800, 14)
    store.write_now(jobs.put_back, store.read_now(jobs.find, "job"), 15)
    assert store.read_now(jobs.find, "job").state is JobState.CANCELLED
    assert not store.write_now(jobs.renew, second, 900, 15)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    """A server without servicers, whose leases are short."""
    config = ServerConfig(tmp_path, "unix:/s", timings=Timings(lease=LEASE))
    store, artefacts = Store(tmp_path / "db"), Artefacts(tmp_path)
    uploads, pool = Uploads(tmp_path / "uploads"), Pool(1, tmp_path, tmp_path)
    store.write_now(job_store.add, TENANT, JOB, b"")
    yield Core(config, store, artefacts, uploads, artefacts, pool, Bus(), lambda: 1_000_000)
    store.close()


async def test_a_lease_is_renewed_while_the_attempt_is_the_current_one(core: Core) -> None:
    keeping = asyncio.create_task(keep_lease(core, claimed(core.store, 1)))
    await asyncio.sleep(3 * LEASE)
    assert not keeping.done()
    assert (await core.store.read(jobs.find, "job")).lease == 1_000_000 + int(LEASE * 1e6)
    await core.store.write(jobs.recover, 2)
    claimed(core.store, 3)
    assert "not the current one" in await asyncio.wait_for(keeping, 20)


async def test_a_lease_ends_when_the_database_stays_away(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    job, failed = claimed(core.store, 1), 0
    write = core.store.write

    async def away(function: Any, *arguments: Any) -> Any:
        nonlocal failed
        # One failure is got over.
        failed += 1
        if failed == 2:
            return await write(function, *arguments)
        raise Unavailable(Reason.DATABASE_UNAVAILABLE, "the database failed")

    monkeypatch.setattr(core.store, "write", away)
    assert "the database was away" in await asyncio.wait_for(keep_lease(core, job), 20)
    assert failed >= 2 + 3


@pytest.mark.chaos
def test_an_attempt_that_lost_its_lease_ends_its_worker_and_writes_nothing(tmp_path: Path) -> None:
    """As where another server took the job. The worker is stopped, so that none of its events is refused before."""
    host = Host(tmp_path, ("tests.chaos.impatient", "15"))
    host.start()
    try:
        with grpc.insecure_channel(host.address) as channel:
            stubs = Stubs.on(channel)
            register(stubs, gaussian(2), "some-target")
            job = create_job(stubs, "targets/some-target", LONG).name
            wait_for(lambda: get_job(stubs, job).metrics.step > 0, what="a first step")
            worker = max(host.workers(), key=psutil.Process.create_time)
            worker.suspend()
            with closing(sqlite3.connect(host.data / "gephyra.sqlite3", timeout=10)) as other:
                other.execute("UPDATE jobs SET attempt = 7, owner = 'another server'")
                other.commit()
            wait_for(lambda: not worker.is_running(), seconds=30, what="the worker's end")
            taken = get_job(stubs, job)
            assert (taken.attempt, taken.state) == (7, training_service_pb2.JOB_STATE_RUNNING)
            wait_for(lambda: "is given up: the attempt is not the current" in host.log.read_text(), what="a word")
            assert get_job(stubs, job) == taken
    finally:
        host.close()
