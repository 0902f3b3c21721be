"""The store keeps its promises on each database: one transaction a change, fencing, idempotency, pages."""

import asyncio
import base64
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from google.rpc import code_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from gephyra.samplers.settings import (
    Budget,
    Device,
    Goal,
    Integrator,
    Learn,
    Loss,
    Method,
    Precision,
    Precondition,
    TrainingSettings,
)
from gephyra.service import jobs
from gephyra.service.config import TENANT
from gephyra.service.errors import FailedPrecondition, Failure, InvalidArgument, NotFound, Reason
from gephyra.service.registration import remove_target
from gephyra.service.store import blobs, idempotency, samplers, schema, targets
from gephyra.service.store import jobs as job_store
from gephyra.service.store.database import Store
from gephyra.service.store.records import JobRecord, JobState, SamplerRecord, TargetRecord, TargetState
from gephyra.targets.program import Site
from tests.support.wire import METRICS, REPORT

SITES = (Site("theta", (2, 3), "float64"), Site("y", (), "int64", deterministic=True))
SETTINGS = TrainingSettings(
    Method.CMCD_UD, Loss.TB, Precondition.NONE, Integrator.OBABO, Budget(target_evaluations=7), Goal(0.5), 2**64 - 1,
    learn=Learn(prior=False, time_rate=3.0), ema=0.5, device=Device.CPU, precision=Precision.FLOAT64,
)  # fmt: skip


def target(name: str = "t-one", digest: str = "d1") -> TargetRecord:
    return TargetRecord(name, f"uid-{name}", TargetState.CHECKING, digest, 3, "somewhere", 1, SITES)


def job(name: str = "job-one") -> JobRecord:
    return JobRecord(
        name, f"uid-{name}", "t-one", "d1", SETTINGS, JobState.QUEUED, 5, start="sampler-zero", start_digest="d0"
    )


def sampler(name: str = "sampler-one") -> SamplerRecord:
    return SamplerRecord(name, "uid", "t-one", "d1", "job-one", SETTINGS, REPORT, 3, SITES, "d2", 9)


def ready(connection: Connection) -> None:
    targets.add(connection, TENANT, target())
    targets.set_ready(connection, TENANT, "uid-t-one", 3, -1.5, SITES)


def test_targets_come_back_as_they_went_in(store: Store) -> None:
    store.write_now(targets.add, TENANT, target())
    assert store.read_now(targets.find, TENANT, "t-one") == target()
    assert store.read_now(targets.checking, TENANT) == ["t-one"]
    store.write_now(targets.set_ready, TENANT, "uid-t-one", 4, -1.5, SITES[:1])
    found = replace(target(), state=TargetState.READY, dim=4, log_z=-1.5, sites=SITES[:1])
    assert store.read_now(targets.find, TENANT, "t-one") == found
    # Decided once.
    store.write_now(targets.set_rejected, TENANT, "uid-t-one", Failure(3, "R", "why", "field"))
    assert store.read_now(targets.find, TENANT, "t-one") == found


def test_rejections_keep_their_reason(store: Store) -> None:
    store.write_now(targets.add, TENANT, target())
    failure = Failure(code_pb2.INVALID_ARGUMENT, "R", "why", "definition")
    store.write_now(targets.set_rejected, TENANT, "uid-t-one", failure)
    found = store.read_now(targets.find, TENANT, "t-one")
    assert found == replace(target(), state=TargetState.REJECTED, error=failure)


def test_tenants_do_not_see_each_other(store: Store) -> None:
    store.write_now(targets.add, "other", target())
    assert store.read_now(targets.find, TENANT, "t-one") is None
    assert store.read_now(targets.page, TENANT, 10, "") == ([], "")
    store.write_now(blobs.add, "other", "00", 3, 1)
    assert store.read_now(blobs.size, TENANT, "00") is None


def test_jobs_and_samplers_come_back_as_they_went_in(store: Store) -> None:
    store.write_now(ready)
    store.write_now(job_store.add, TENANT, job(), b"queued")
    assert store.read_now(job_store.find, TENANT, "job-one") == replace(job(), last_sequence=1)
    store.write_now(job_store.record, TENANT, "job-one", 0, b"metrics", METRICS)
    # NaN is not equal to itself; its text is.
    assert repr(store.read_now(jobs.find, "job-one").metrics) == repr(METRICS)
    store.write_now(samplers.add, TENANT, sampler())
    assert repr(store.read_now(samplers.find, TENANT, "sampler-one")) == repr(sampler())


def test_only_the_current_attempt_writes(store: Store) -> None:
    store.write_now(ready)
    store.write_now(job_store.add, TENANT, job(), b"queued")
    first = store.write_now(jobs.claim, 10)
    assert first is not None
    assert (first.attempt, first.state) == (1, JobState.PENDING)
    assert store.write_now(jobs.move, first, (JobState.PENDING,), JobState.QUEUED, 11, crashes=1)
    second = store.write_now(jobs.claim, 12)
    assert second is not None
    assert (second.attempt, second.crashes) == (2, 1)

    before = store.read_now(jobs.find, "job-one")
    assert not store.write_now(job_store.record, TENANT, "job-one", first.attempt, b"late", METRICS)
    assert not store.write_now(jobs.move, first, (JobState.PENDING,), JobState.RUNNING, 13)
    assert not store.write_now(jobs.fail, first, Failure(13, "R", "why"), 13)
    assert not store.write_now(jobs.succeed, first, "sampler-one", "uid", "d2", REPORT, 13)
    assert store.read_now(jobs.find, "job-one") == before
    assert store.read_now(samplers.find, TENANT, "sampler-one") is None

    assert store.write_now(jobs.move, second, (JobState.PENDING,), JobState.RUNNING, 14)
    assert store.write_now(jobs.succeed, second, "sampler-one", "uid", "d2", REPORT, 15)
    done = store.read_now(jobs.find, "job-one")
    assert (done.state, done.sampler, done.end_time) == (JobState.SUCCEEDED, "sampler-one", 15)
    # A terminal state is for ever.
    assert not store.write_now(job_store.record, TENANT, "job-one", 2, b"late")
    assert store.write_now(jobs.cancel, "job-one", "", "", 16) == done


def test_success_without_a_target_leaves_nothing_behind(store: Store) -> None:
    store.write_now(job_store.add, TENANT, job(), b"queued")
    claimed = store.write_now(jobs.claim, 10)
    assert claimed is not None
    assert not store.write_now(jobs.succeed, claimed, "sampler-one", "uid", "d2", REPORT, 13)
    assert store.read_now(samplers.find, TENANT, "sampler-one") is None


def test_a_failed_transaction_leaves_no_event(store: Store) -> None:
    store.write_now(job_store.add, TENANT, job(), b"queued")

    def fail_late(connection: Connection) -> None:
        job_store.record(connection, TENANT, "job-one", 0, b"lost")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        store.write_now(fail_late)
    store.write_now(job_store.record, TENANT, "job-one", 0, b"kept")
    events = store.read_now(job_store.events_after, TENANT, "job-one", 0, 10)
    assert [(event.sequence, event.content) for event in events] == [(1, b"queued"), (2, b"kept")]


def test_concurrent_writers_leave_no_gap(store: Store) -> None:
    store.write_now(job_store.add, TENANT, job(), b"0")

    async def crowd() -> None:
        calls = (store.write(job_store.record, TENANT, "job-one", 0, str(n).encode()) for n in range(50))
        await asyncio.gather(*calls, *(store.read(jobs.find, "job-one") for _ in range(50)))

    asyncio.run(crowd())
    events = store.read_now(job_store.events_after, TENANT, "job-one", 0, 100)
    assert [event.sequence for event in events] == list(range(1, 52))
    assert len(store.read_now(job_store.events_after, TENANT, "job-one", 20, 7)) == 7


def test_a_start_puts_back_what_was_at_work(store: Store) -> None:
    store.write_now(ready)
    for name in ("job-one", "job-two", "job-three"):
        store.write_now(job_store.add, TENANT, job(name), b"queued")
    first, second = (store.write_now(jobs.claim, 10) for _ in range(2))
    assert first is not None
    assert second is not None
    store.write_now(jobs.move, first, (JobState.PENDING,), JobState.RUNNING, 11)
    assert store.write_now(jobs.cancel, second.name, "", "", 12).state is JobState.CANCELLING
    store.write_now(jobs.recover, 13)
    states = [store.read_now(jobs.find, name).state for name in ("job-one", "job-two", "job-three")]
    assert states == [JobState.QUEUED, JobState.CANCELLED, JobState.QUEUED]
    again = store.write_now(jobs.claim, 14)
    assert again is not None
    assert (again.name, again.attempt, again.crashes) == ("job-one", 2, 0)


def test_jobs_need_a_ready_target(store: Store) -> None:
    with pytest.raises(NotFound) as missing:
        store.write_now(jobs.create, job(), "", "")
    assert missing.value.reason == Reason.TARGET_NOT_FOUND
    store.write_now(targets.add, TENANT, target())
    with pytest.raises(FailedPrecondition) as early:
        store.write_now(jobs.create, job(), "", "")
    assert early.value.reason == Reason.TARGET_NOT_READY
    store.write_now(targets.set_ready, TENANT, "uid-t-one", 3, None, ())
    assert store.write_now(jobs.create, job(), "", "").state is JobState.QUEUED
    with pytest.raises(FailedPrecondition, match="trainingJobs/job-one"):
        store.write_now(remove_target, "t-one")
    store.write_now(jobs.cancel, "job-one", "", "", 3)
    store.write_now(remove_target, "t-one")
    assert store.read_now(targets.find, TENANT, "t-one") is None


def test_a_repeated_request_acts_once(store: Store) -> None:
    store.write_now(ready)
    first = store.write_now(jobs.create, job(), "id-1", "hash-1")
    assert store.write_now(jobs.create, job("job-two"), "id-1", "hash-1") == first
    with pytest.raises(InvalidArgument) as reused:
        store.write_now(jobs.create, job("job-two"), "id-1", "hash-2")
    assert reused.value.reason == Reason.REQUEST_ID_REUSED
    assert store.read_now(job_store.find, TENANT, "job-two") is None
    # The id of another method is another id; old ones are forgotten.
    assert store.read_now(idempotency.recall, TENANT, "ImportSampler", "id-1", "hash-2") is None
    store.write_now(idempotency.forget_before, 6)
    assert store.read_now(idempotency.recall, TENANT, "CreateTrainingJob", "id-1", "hash-2") is None


def test_pages_hold_every_row_once_while_others_come(store: Store) -> None:
    for n in range(7):
        store.write_now(targets.add, TENANT, target(f"t-{n}"))
    seen, token = store.read_now(targets.page, TENANT, 3, "")
    store.write_now(targets.add, TENANT, target("newcomer"))
    while token:
        more, token = store.read_now(targets.page, TENANT, 3, token)
        seen += more
    assert [record.name for record in seen] == [f"t-{n}" for n in reversed(range(7))]


def test_no_text_is_mistaken_for_a_token(store: Store) -> None:
    @settings(max_examples=20)
    @given(token=st.one_of(st.text(max_size=40), st.binary(max_size=30).map(lambda b: b.decode("latin1"))))
    def refused(token: str) -> None:
        if token:
            with pytest.raises(InvalidArgument) as caught:
                store.read_now(job_store.page, TENANT, 3, token)
            assert caught.value.reason == Reason.PAGE_TOKEN_INVALID

    refused()


def test_a_token_may_point_beyond_every_row(store: Store) -> None:
    for n in range(2):
        store.write_now(targets.add, TENANT, target(f"t-{n}"))
    _, token = store.read_now(targets.page, TENANT, 1, "")
    beyond = base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)[:8] + b"\xff" * 8).decode()
    assert store.read_now(targets.page, TENANT, 9, beyond) == store.read_now(targets.page, TENANT, 9, "")


def test_an_event_needs_its_job(store: Store) -> None:
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        store.write_now(
            lambda connection: connection.execute(insert(schema.events).values(job=99, sequence=1, content=b""))
        )


def test_a_blob_is_stored_once(store: Store) -> None:
    for size in (3, 4):
        store.write_now(blobs.add, TENANT, "00", size, 1)
    assert store.read_now(blobs.size, TENANT, "00") == 3
    store.write_now(blobs.remove, TENANT, "00")
    assert store.read_now(blobs.size, TENANT, "00") is None


def test_a_reader_sees_one_moment(store: Store) -> None:
    """Between its two looks another transaction ends, and the second shows nothing of it."""

    def look_twice(connection: Connection) -> list[object]:
        before = targets.find(connection, TENANT, "t-one")
        store.write_now(targets.add, TENANT, target())
        return [before, targets.find(connection, TENANT, "t-one")]

    assert store.read_now(look_twice) == [None, None]
    assert store.read_now(targets.find, TENANT, "t-one") == target()


def test_a_write_begins_where_the_last_one_ended(store: Store) -> None:
    """Each of many threads reads a number and writes the next one: none is lost."""
    store.write_now(job_store.add, TENANT, job(), b"0")

    def count(connection: Connection) -> None:
        (seen,) = connection.execute(select(schema.jobs.c.crashes)).one()
        time.sleep(0.002)
        connection.execute(update(schema.jobs).values(crashes=seen + 1))

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(store.write_now, count) for _ in range(40)]:
            done.result()
    assert store.read_now(jobs.find, "job-one").crashes == 40
