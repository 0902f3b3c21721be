"""What may be asked of a job in which state, what becomes of it, and that it is asked once (P2, P5)."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.rpc import error_details_pb2
from sqlalchemy import select, update

from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.settings import TrainingSettings
from gephyra.service import jobs, transitions
from gephyra.service import retry as retrying
from gephyra.service.config import TENANT, Limits, ServerConfig
from gephyra.service.errors import (
    FailedPrecondition,
    Failure,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
    ServiceError,
    to_status,
)
from gephyra.service.store import jobs as job_store
from gephyra.service.store import samplers, schema, targets
from gephyra.service.store.database import Store
from gephyra.service.store.records import TERMINAL, JobRecord, JobState, SamplerRecord, TargetRecord, TargetState
from gephyra.service.transitions import Order
from tests.chaos import ledger
from tests.support.wire import REPORT

Q, P, R, PAUSED = JobState.QUEUED, JobState.PENDING, JobState.RUNNING, JobState.PAUSED
CANCELLING, CANCELLED = JobState.CANCELLING, JobState.CANCELLED
SUCCEEDED, FAILED = JobState.SUCCEEDED, JobState.FAILED
LIMITS = Limits()


def job(name: str = "job-one") -> JobRecord:
    return JobRecord(name, f"uid-{name}", "t-one", "d1", TrainingSettings(), JobState.QUEUED, 5)


@pytest.fixture
def place_job(store: Store) -> Callable[[JobState], JobRecord]:
    """Brings the job to a state by the ways that there are."""
    steps: dict[JobState, list[JobState]] = {
        Q: [], P: [P], R: [P, R], PAUSED: [PAUSED], CANCELLING: [P, CANCELLING], CANCELLED: [CANCELLED],
        SUCCEEDED: [P, R, SUCCEEDED], FAILED: [P, FAILED],
    }  # fmt: skip

    def place(state: JobState) -> JobRecord:
        record = TargetRecord("t-one", "uid", TargetState.READY, "d1", 3, "somewhere", 1)
        store.write_now(targets.add, TENANT, record)
        store.write_now(job_store.add, TENANT, job(), b"queued")
        for step in steps[state]:
            now = store.read_now(jobs.find, "job-one")
            claimed = {P: lambda: store.write_now(jobs.claim, 10)}.get(step)
            assert claimed() if claimed else store.write_now(jobs.move, now, (now.state,), step, 11)
        found = store.read_now(jobs.find, "job-one")
        assert found.state is state
        return found

    return place


def give(store: Store, order: Order, request_id: str = "", sha256: str = "") -> Any:
    """Ask the job."""
    config = ServerConfig(None, "unix:/s")  # type: ignore[arg-type]
    calls: dict[Order, Callable[[], Any]] = {
        Order.PAUSE: lambda: store.write_now(jobs.pause, "job-one", request_id, sha256, 20),
        Order.RESUME: lambda: store.write_now(jobs.resume, "job-one", request_id, sha256, 20, LIMITS),
        Order.CANCEL: lambda: store.write_now(jobs.cancel, "job-one", request_id, sha256, 20),
        Order.DELETE: lambda: store.write_now(jobs.remove, "job-one", request_id, sha256, 20),
        Order.RETRY: lambda: store.write_now(retrying._add, "job-one", "job-two", request_id, sha256, config, 20),
    }
    return calls[order]()


# After each order: the state, a pause that is to come, jobs that are there; None: refused.
EXPECTED: dict[Order, dict[JobState, tuple[JobState | None, bool, int] | None]] = {
    Order.PAUSE: {
        Q: (PAUSED, False, 1), P: (P, True, 1), R: (R, True, 1), PAUSED: (PAUSED, False, 1), CANCELLING: None,
        CANCELLED: None, SUCCEEDED: None, FAILED: None,
    },
    Order.RESUME: {
        Q: (Q, False, 1), P: (P, False, 1), R: (R, False, 1), PAUSED: (Q, False, 1), CANCELLING: None,
        CANCELLED: None, SUCCEEDED: None, FAILED: None,
    },
    Order.CANCEL: {
        Q: (CANCELLED, False, 1), P: (CANCELLING, False, 1), R: (CANCELLING, False, 1), PAUSED: (CANCELLED, False, 1),
        CANCELLING: (CANCELLING, False, 1), CANCELLED: (CANCELLED, False, 1), SUCCEEDED: (SUCCEEDED, False, 1),
        FAILED: (FAILED, False, 1),
    },
    Order.RETRY: {
        Q: None, P: None, R: None, PAUSED: None, CANCELLING: None, CANCELLED: (CANCELLED, False, 2), SUCCEEDED: None,
        FAILED: (FAILED, False, 2),
    },
    Order.DELETE: {
        Q: None, P: None, R: None, PAUSED: None, CANCELLING: None, CANCELLED: (None, False, 0),
        SUCCEEDED: (None, False, 0), FAILED: (None, False, 0),
    },
}  # fmt: skip


@pytest.mark.parametrize(("order", "state"), list(itertools.product(Order, JobState)))
def test_every_order_in_every_state(
    store: Store, place_job: Callable[[JobState], JobRecord], order: Order, state: JobState
) -> None:
    before, expected = place_job(state), EXPECTED[order][state]
    events = store.read_now(job_store.events_after, TENANT, "job-one", 0, 100)
    if expected is None:
        with pytest.raises(FailedPrecondition, match=f"trainingJobs/job-one is {state.name}; expected") as refused:
            give(store, order, "id-1")
        assert (refused.value.reason, refused.value.metadata) == (Reason.JOB_STATE_UNSUITED, {"state": state.name})
        assert store.read_now(jobs.find, "job-one") == before
        return
    give(store, order, "id-1")
    after, (wanted, pausing, count) = store.read_now(job_store.find, TENANT, "job-one"), expected
    assert (after.state if after else None, bool(after and after.pausing)) == (wanted, pausing)
    assert len(store.read_now(job_store.states)) == count
    # An event a change, none without.
    changed = len(store.read_now(job_store.events_after, TENANT, "job-one", 0, 100)) - len(events)
    assert changed == (-len(events) if wanted is None else wanted is not state)
    # The same request again changes nothing.
    give(store, order, "id-1")
    assert store.read_now(job_store.find, TENANT, "job-one") == after
    assert len(store.read_now(job_store.states)) == count
    with pytest.raises(InvalidArgument) as reused:
        give(store, order, "id-1", "other content")
    assert reused.value.reason == Reason.REQUEST_ID_REUSED


def test_the_table_of_changes_is_the_one_that_streams_are_judged_by() -> None:
    number = {state: pb.JobState.Value(f"JOB_STATE_{state.name}") for state in JobState}
    ours = {number[state]: {number[after] for after in next_states} for state, next_states in transitions.NEXT.items()}
    assert {state: states for state, states in ours.items() if states} == {s: v for s, v in ledger.LEGAL.items() if s}


@pytest.mark.parametrize("state", JobState)
def test_no_change_but_those_of_the_table_can_be_stored(
    store: Store, place_job: Callable[[JobState], JobRecord], state: JobState
) -> None:
    before = place_job(state)
    assert (state in TERMINAL) == (not transitions.NEXT[state])
    for after in set(JobState) - transitions.NEXT[state]:
        with pytest.raises(AssertionError):
            store.write_now(jobs.move, before, (state,), after, 20)
    assert store.read_now(jobs.find, "job-one") == before


@pytest.mark.parametrize("state", [P, R])
def test_a_pause_that_was_stored_comes_about_whoever_dies(
    store: Store, place_job: Callable[[JobState], JobRecord], state: JobState
) -> None:
    """The server, whose successor finds the wish; or the worker, which then counts as one that died."""
    attempt = place_job(state)
    give(store, Order.PAUSE)
    assert store.write_now(jobs.put_back, attempt, 21, crashes=1) is PAUSED
    found = store.read_now(jobs.find, "job-one")
    assert (found.state, found.pausing, found.crashes, found.owner) == (PAUSED, False, 1, "")
    # Once: the next attempt is not told to stop.
    give(store, Order.RESUME)
    assert store.write_now(jobs.claim, 22) is not None
    store.write_now(jobs.recover, 23)
    assert store.read_now(jobs.find, "job-one").state is Q
    # And again from a server that died.
    assert store.write_now(jobs.claim, 24) is not None
    give(store, Order.PAUSE)
    store.write_now(jobs.recover, 25)
    assert store.read_now(jobs.find, "job-one").state is PAUSED


@pytest.mark.parametrize(
    ("orders", "left"),
    [
        ((Order.PAUSE, Order.RESUME), Q),
        ((Order.PAUSE, Order.RESUME, Order.PAUSE), PAUSED),
        ((Order.PAUSE, Order.CANCEL), CANCELLED),
        ((), Q),
    ],
)
def test_what_was_asked_last_decides_what_a_stopped_attempt_leaves(
    store: Store, place_job: Callable[[JobState], JobRecord], orders: tuple[Order, ...], left: JobState
) -> None:
    attempt = place_job(R)
    for order in orders:
        give(store, order)
    assert store.write_now(jobs.put_back, attempt, 21) is left
    # An attempt that is not the current one leaves nothing.
    assert store.write_now(jobs.put_back, replace(attempt, attempt=0), 22) is None


@pytest.mark.parametrize("ending", [SUCCEEDED, FAILED])
def test_a_job_that_ends_before_its_pause_comes_stays_ended(
    store: Store, place_job: Callable[[JobState], JobRecord], ending: JobState
) -> None:
    attempt = place_job(R)
    give(store, Order.PAUSE)
    assert store.write_now(jobs.move, attempt, (R,), ending, 21)
    assert store.write_now(jobs.put_back, attempt, 22) is None
    found = store.read_now(jobs.find, "job-one")
    assert (found.state, found.pausing) == (ending, False)
    store.write_now(jobs.recover, 23)
    assert store.read_now(jobs.find, "job-one") == found


def test_a_retry_is_a_job_of_its_own(store: Store, place_job: Callable[[JobState], JobRecord]) -> None:
    attempt = place_job(P)
    store.write_now(jobs.fail, attempt, Failure(13, "R", "why"), 12, crashes=3)
    made = give(store, Order.RETRY, "id-1")
    old = store.read_now(jobs.find, "job-one")
    same = {"target", "target_digest", "settings", "dataset", "dataset_digest", "start", "start_digest"}
    assert {name for name in same if getattr(made, name) != getattr(old, name)} == set()
    assert (made.name, made.retry_of, made.state, made.attempt, made.crashes) == ("job-two", "job-one", Q, 0, 0)
    assert (made.error, made.metrics, made.last_sequence, old.state) == (None, None, 1, FAILED)
    assert made.uid != old.uid
    # The first may go; the answer to the request that made the second stays.
    give(store, Order.DELETE)
    assert give(store, Order.RETRY, "id-1").name == "job-two"


def test_a_retry_is_refused_where_its_target_is_another_one_now(
    store: Store, place_job: Callable[[JobState], JobRecord]
) -> None:
    place_job(CANCELLED)
    store.write_now(lambda c: c.execute(update(schema.targets).values(digest="d2")))
    with pytest.raises(FailedPrecondition, match="targets/t-one has other content") as changed:
        give(store, Order.RETRY)
    assert changed.value.reason == Reason.SUBJECT_CHANGED
    store.write_now(targets.remove, TENANT, "t-one")
    with pytest.raises(NotFound, match="targets/t-one"):
        give(store, Order.RETRY)
    assert list(store.read_now(job_store.states)) == ["job-one"]


def test_what_a_deleted_job_made_stays(store: Store, place_job: Callable[[JobState], JobRecord]) -> None:
    place_job(SUCCEEDED)
    sampler = SamplerRecord("s-one", "uid", "t-one", "d1", "job-one", TrainingSettings(), REPORT, 3, (), "d2", 9)
    store.write_now(samplers.add, TENANT, sampler)
    assert store.read_now(lambda c: c.execute(select(schema.events)).all())
    give(store, Order.DELETE)
    assert store.read_now(lambda c: c.execute(select(schema.events)).all()) == []
    assert store.read_now(samplers.find, TENANT, "s-one") is not None
    with pytest.raises(NotFound):
        give(store, Order.DELETE)


def refused(call: Callable[[], object]) -> ServiceError:
    with pytest.raises(ResourceExhausted) as caught:
        call()
    return caught.value


def test_as_many_jobs_wait_as_may(store: Store, place_job: Callable[[JobState], JobRecord]) -> None:
    """And whoever comes too late is told when to come back; requests that were answered are answered again."""
    place_job(FAILED)
    two = Limits(max_queued_jobs=2)
    config = ServerConfig(None, "unix:/s", limits=two)  # type: ignore[arg-type]
    for name in ("job-a", "job-b"):
        store.write_now(jobs.create, job(name), name, "hash", two)
    store.write_now(jobs.pause, "job-a", "", "", 9)
    store.write_now(jobs.create, job("job-c"), "", "", two)
    before = store.read_now(job_store.states)
    calls: list[Callable[[], object]] = [
        lambda: store.write_now(jobs.create, job("job-d"), "id-d", "hash", two),
        lambda: store.write_now(jobs.resume, "job-a", "", "", 9, two),
        lambda: store.write_now(retrying._add, "job-one", "job-e", "", "", config, 9),
    ]
    for call in calls:
        error = refused(call)
        assert (error.reason, dict(error.metadata)) == (
            Reason.QUOTA_EXCEEDED, {"limit": "max_queued_jobs", "value": "2"}
        )  # fmt: skip
        details = to_status(error).details
        quota, back = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
        assert any(detail.Unpack(quota) for detail in details)
        assert any(detail.Unpack(back) for detail in details)
        assert [violation.subject for violation in quota.violations] == ["tenants/local"]
        assert back.retry_delay.seconds > 0
    assert store.read_now(job_store.states) == before
    assert store.write_now(jobs.create, job("job-b"), "job-b", "hash", two).name == "job-b"
    # Jobs at work do not wait, nor do those of others.
    assert store.write_now(jobs.claim, 10) is not None
    store.write_now(job_store.add, "other", job("job-x"), b"queued")
    calls[0]()
    assert len([state for state in store.read_now(job_store.states).values() if state not in TERMINAL]) == 5
