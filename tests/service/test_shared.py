"""Several stores on one PostgreSQL: they write by turns, leases go by its clock, and each hears what the others did."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from gephyra.samplers.settings import TrainingSettings
from gephyra.service import jobs
from gephyra.service.artefacts import Artefacts
from gephyra.service.config import TENANT
from gephyra.service.dataset_service import _add, _drop, _remove
from gephyra.service.home import open_store
from gephyra.service.store import datasets, targets
from gephyra.service.store import jobs as job_store
from gephyra.service.store.database import Store
from gephyra.service.store.places import DatabaseInUse, DatabaseRefused, Notice
from gephyra.service.store.postgresql import PostgreSql
from gephyra.service.store.records import DatasetRecord, JobRecord, JobState, TargetRecord, TargetState
from gephyra.service.store.sqlite import Sqlite
from gephyra.service.store.versions import latest
from tests.support.postgres import PostgresServer

HOUR = 3600 * 10**6
LEASE = 600_000
JOB = JobRecord("job", "u", "t", "", TrainingSettings(), JobState.QUEUED, 1)
TARGET = TargetRecord("t-one", "uid", TargetState.CHECKING, "d1", 3, "somewhere", 1)


@pytest.fixture
def stores(url: str) -> Iterator[tuple[Store, Store]]:
    """Those of two servers."""
    both = Store(PostgreSql(url)), Store(PostgreSql(url))
    yield both
    for store in both:
        store.close()


def test_no_write_of_one_server_comes_between_those_of_another(stores: tuple[Store, Store]) -> None:
    """A read and a write that depends on it, many times from both: none is lost, as if there were one writer."""
    stores[0].write_now(job_store.add, TENANT, JOB, b"0")

    def count(connection: Connection) -> None:
        events = job_store.events_after(connection, TENANT, "job", 0, 10_000)
        job_store.record(connection, TENANT, "job", 0, str(len(events)).encode())

    def many(store: Store) -> None:
        for _ in range(100):
            store.write_now(count)

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(many, store) for store in stores]:
            done.result()
    events = stores[0].read_now(job_store.events_after, TENANT, "job", 0, 1000)
    assert [(event.sequence, int(event.content)) for event in events] == [(n + 1, n) for n in range(201)]


def test_two_servers_claim_different_jobs(stores: tuple[Store, Store]) -> None:
    for number in range(20):
        job = JobRecord(f"job-{number}", f"u-{number}", "t", "", TrainingSettings(), JobState.QUEUED, 1)
        stores[0].write_now(job_store.add, TENANT, job, b"")

    def claim_all(store: Store) -> list[str]:
        found = []
        while (job := store.write_now(jobs.claim, 1, "some server", LEASE)) is not None:
            found.append(job.name)
        return found

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(claim_all, stores)
    assert len(first) + len(second) == 20
    assert len({*first, *second}) == 20


async def test_a_lease_goes_by_the_clock_of_the_database(stores: tuple[Store, Store]) -> None:
    """Those of the servers may be an hour apart, either way (P15)."""
    one, two = stores
    one.write_now(job_store.add, TENANT, JOB, b"")
    for skew in (-HOUR, HOUR):
        now = 10 * HOUR
        held = one.write_now(jobs.claim, now, "one", now + LEASE)
        assert held is not None
        assert two.read_now(jobs.late, now + skew) == {}
        await asyncio.sleep(1.2 * LEASE / 1e6)
        late = two.read_now(jobs.late, now + skew)
        assert late == {"job": held.lease}
        # It was renewed in between.
        assert one.write_now(jobs.renew, held, now + LEASE, now)
        assert two.write_now(jobs.take_back, now + skew, (), late) == []
        await asyncio.sleep(1.2 * LEASE / 1e6)
        assert two.write_now(jobs.take_back, now + skew, (), two.read_now(jobs.late, now + skew)) == ["job"]
        # What the other server does too late is refused.
        assert not one.write_now(jobs.renew, held, now + LEASE, now)
        assert not one.write_now(jobs.move, held, (JobState.PENDING,), JobState.RUNNING, now)


def test_the_jobs_of_a_dead_server_are_taken_over_before_their_lease_ends(stores: tuple[Store, Store]) -> None:
    one, two = stores
    one.write_now(job_store.add, TENANT, JOB, b"")
    one.write_now(jobs.claim, 1, "one", HOUR)
    assert two.read_now(jobs.owners) == {"one"}
    assert two.write_now(jobs.take_back, 1, {"another"}, {}) == []
    assert two.write_now(jobs.take_back, 1, {"one"}, {}) == ["job"]
    assert two.read_now(jobs.find, "job").state is JobState.QUEUED
    held = two.write_now(jobs.claim, 2, "two", HOUR)
    assert held is not None
    two.write_now(jobs.cancel, "job", "", "", 3)
    assert one.write_now(jobs.take_back, 4, {"two"}, {}) == ["job"]
    assert one.read_now(jobs.find, "job").state is JobState.CANCELLED


async def test_one_server_checks_a_target_until_it_is_gone(stores: tuple[Store, Store]) -> None:
    one, two = stores
    one.write_now(targets.add, TENANT, TARGET)
    seconds = LEASE / 1e6

    def may(store: Store, owner: str, dead: tuple[str, ...] = ()) -> bool:
        return store.write_now(targets.claim, TENANT, "uid", owner, seconds, 0, dead)

    assert (may(one, "one"), may(two, "two"), may(one, "one")) == (True, False, True)
    assert may(two, "two", ("one",))
    await asyncio.sleep(0.7 * seconds)
    two.write_now(targets.renew, TENANT, "two", seconds, 0)
    await asyncio.sleep(0.7 * seconds)
    assert not may(one, "one")
    two.write_now(targets.release, TENANT, "two")
    assert may(one, "one")
    await asyncio.sleep(1.2 * seconds)
    assert may(two, "two")
    two.write_now(targets.set_ready, TENANT, "uid", 3, None, ())
    assert not may(one, "one")


async def _next(notices: AsyncGenerator[Notice, None]) -> Notice:
    return await asyncio.wait_for(anext(notices), 20)


async def test_a_server_hears_what_the_others_did_once_it_is_committed(stores: tuple[Store, Store]) -> None:
    one, two = stores
    async with aclosing(two.place.notices()) as notices:
        assert await _next(notices) == Notice("", "")
        one.write_now(job_store.add, TENANT, JOB, b"")
        # Its own it knows.
        two.write_now(jobs.claim, 1, "two", HOUR)
        one.write_now(job_store.record, TENANT, "job", 1, b"")
        with pytest.raises(ZeroDivisionError):
            one.write_now(_cancel_and_fail)
        one.write_now(jobs.cancel, "job", "", "", 2)
        one.write_now(targets.add, TENANT, TARGET)
        one.write_now(targets.claim, TENANT, "uid", "one", 9.0, 0, ())
        one.write_now(targets.release, TENANT, "one")
        one.write_now(targets.set_ready, TENANT, "uid", 3, None, ())
        heard = [await _next(notices) for _ in range(5)]
    assert heard == [
        Notice("job", "queued"), Notice("job", ""), Notice("job", "cancelling"), Notice("t-one", "checking"),
        Notice("t-one", ""),
    ]  # fmt: skip


async def test_on_sqlite_nobody_says_anything(tmp_path: Path) -> None:
    async with aclosing(Sqlite(tmp_path / "db").notices()) as notices:
        assert await _next(notices) == Notice("", "")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(notices), 0.1)


def _cancel_and_fail(connection: Connection) -> None:
    jobs.cancel(connection, "job", "", "", 2)
    raise ZeroDivisionError


async def test_a_session_that_is_lost_ends_the_listening(own: PostgresServer) -> None:
    store = Store(PostgreSql(own.make()))
    async with aclosing(store.place.notices()) as notices:
        await _next(notices)
        own.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gephyra'")
        with pytest.raises(Exception, match=r"terminating connection|closed"):
            await _next(notices)
    store.close()


def test_nobody_changes_the_tables_under_a_server(stores: tuple[Store, Store], postgres: PostgresServer) -> None:
    one, two = stores

    def exclude(version: int) -> Callable[[Connection], None]:
        def change(connection: Connection) -> None:
            connection.execute(text("SET LOCAL lock_timeout = '100ms'"))
            one.place.exclude(connection, version)

        return change

    with pytest.raises(Exception, match=f"version {latest()} and in use by another"):
        one.write_now(exclude(latest()))
    one.write_now(exclude(6))
    # As servers up to 0.3 do, which own their database.
    two.write_now(lambda connection: connection.execute(text(f"SELECT pg_advisory_lock({int.from_bytes(b'gephyra')})")))
    with pytest.raises(Exception, match="version 6 and in use by another"):
        one.write_now(exclude(6))
    assert issubclass(DatabaseInUse, DatabaseRefused)


def test_servers_on_one_database_share_one_folder(url: str, tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    first, second = open_store(tmp_path / "here", url), open_store(tmp_path / "here", url)
    with pytest.raises(DatabaseRefused, match="belongs to another data folder"):
        open_store(tmp_path / "there", url)
    for store in (first, second):
        store.close()


def test_no_row_is_made_for_content_that_goes_away(store: Store, tmp_path: Path) -> None:
    """Another server may delete the last data set of some content while one makes another data set of it."""
    contents = Artefacts(tmp_path / "contents")
    content = contents.put(b"values")
    record = DatasetRecord("data", "uid", "data", "origin", content, "digest", 2, 1, "float64", False, 1, ())
    assert store.write_now(_add, contents, record, "", "", "blob") == record
    # Still needed: nothing is dropped.
    store.write_now(_drop, contents, content)
    assert contents.size(content) == 6
    assert store.write_now(_remove, "data") == content
    store.write_now(_drop, contents, content)
    assert contents.size(content) is None
    assert store.write_now(_add, contents, record, "", "", "blob") is None
    assert store.read_now(datasets.find, TENANT, "data") is None
    # The same request at both servers makes one.
    contents.put(b"values")
    first = store.write_now(_add, contents, record, "request", "sha256", "blob")
    again = replace(record, name="other", uid="other")
    assert store.write_now(_add, contents, again, "request", "sha256", "blob") == first
