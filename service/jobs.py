"""The life of a training job in the store: each function is one transaction, or decides what one does.

QUEUED -> PENDING -> RUNNING -> SUCCEEDED | FAILED
|          |          |----> QUEUED (worker died, or server stopped: from the last checkpoint)
|          |          |----> PAUSED (the same, where a pause was asked for) -> QUEUED | CANCELLED
|          `----------+----> CANCELLING -> CANCELLED | SUCCEEDED | FAILED
`-> PAUSED | CANCELLED

Which changes there are, and what callers may ask for when, is told by `transitions`.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from gephyra.samplers.denoising.settings import DenoisingSettings
from gephyra.targets.program import Site

from . import convert
from .config import TENANT, Limits
from .errors import FailedPrecondition, Failure, NotFound, Reason, ResourceExhausted
from .queue import next_job
from .slots import ANYTHING, Offer
from .store import datasets, idempotency, jobs, samplers, targets
from .store.columns import dump_failure
from .store.places import place_of
from .store.records import TERMINAL, AnyReport, JobRecord, JobState, SamplerRecord, TargetRecord, TargetState
from .transitions import NEXT, Order, state_after

__all__ = [
    "add", "cancel", "claim", "create", "fail", "find", "late", "move", "owners", "pause", "put_back", "ready_target",
    "recall", "recover", "remove", "renew", "resume", "succeed", "take_back",
]  # fmt: skip

_CREATE = "CreateTrainingJob"
_ACTIVE = (JobState.PENDING, JobState.RUNNING, JobState.CANCELLING)
_TOLD_TO_STOP = (JobState.PENDING, JobState.RUNNING)
# When a full queue is worth another look: jobs take minutes.
_QUEUE_SECONDS = 30
# Differs from every lease, and from none.
_NO_LEASE = -1


def find(connection: Connection, name: str) -> JobRecord:
    """The job of that id. Raises NotFound."""
    job = jobs.find(connection, TENANT, name)
    if job is None:
        resource = f"trainingJobs/{name}"
        raise NotFound(Reason.JOB_NOT_FOUND, f"there is no training job {resource}", resource=resource)
    return job


def ready_target(connection: Connection, name: str) -> TargetRecord:
    """The target of that id, ready for use. Raises NotFound or FailedPrecondition."""
    target, resource = targets.find(connection, TENANT, name), f"targets/{name}"
    if target is None:
        raise NotFound(Reason.TARGET_NOT_FOUND, f"there is no target {resource}; register it first", resource=resource)
    if target.state is TargetState.CHECKING:
        raise FailedPrecondition(Reason.TARGET_NOT_READY, f"{resource} is still being checked; wait until it is READY")
    if target.state is TargetState.REJECTED:
        why = target.error.message if target.error else "for an unknown reason"
        raise FailedPrecondition(Reason.TARGET_REJECTED, f"{resource} was rejected: {why}")
    return target


def create(
    connection: Connection, job: JobRecord, request_id: str, request_sha256: str, limits: Limits | None = None
) -> JobRecord:
    """Store a new QUEUED job, whose target is READY if it has one, or find what the same request made before."""
    known = recall(connection, request_id, request_sha256)
    if known is not None:
        return known
    if job.target:
        job = replace(job, target_digest=ready_target(connection, job.target).digest)
    return add(connection, job, limits or Limits(), _CREATE, request_id, request_sha256)


def add(
    connection: Connection, job: JobRecord, limits: Limits, method: str, request_id: str, request_sha256: str
) -> JobRecord:
    """Store a new QUEUED job, which is whole, and that this request made it. Raises ResourceExhausted."""
    _refuse_if_crowded(connection, limits)
    jobs.add(connection, TENANT, job, convert.job_state_event(job.state, job.attempt, job.create_time))
    idempotency.remember(connection, TENANT, method, request_id, request_sha256, job.name, job.create_time)
    return find(connection, job.name)


def recall(connection: Connection, request_id: str, request_sha256: str, method: str = _CREATE) -> JobRecord | None:
    """The job that the same request made before. Raises InvalidArgument for an id that another request had."""
    known = idempotency.recall(connection, TENANT, method, request_id, request_sha256)
    return None if known is None else find(connection, known)


def cancel(connection: Connection, name: str, request_id: str, request_sha256: str, now: int) -> JobRecord:
    """Ask a job to end; one that has ended stays as it is. The result is CANCELLING if a worker has to stop first."""
    return _order(connection, Order.CANCEL, name, request_id, request_sha256, now)


def pause(connection: Connection, name: str, request_id: str, request_sha256: str, now: int) -> JobRecord:
    """Ask a job to stop for a while; `pausing` if a worker has to stop first. Raises FailedPrecondition."""
    return _order(connection, Order.PAUSE, name, request_id, request_sha256, now)


def resume(
    connection: Connection, name: str, request_id: str, request_sha256: str, now: int, limits: Limits
) -> JobRecord:
    """Have a paused job wait for a worker again, or take back a pause. Raises FailedPrecondition, ResourceExhausted."""
    return _order(connection, Order.RESUME, name, request_id, request_sha256, now, limits)


def remove(connection: Connection, name: str, request_id: str, request_sha256: str, now: int) -> None:
    """Forget a job that has ended, with its events. Raises NotFound, FailedPrecondition."""
    method = Order.DELETE.method
    if idempotency.recall(connection, TENANT, method, request_id, request_sha256) is not None:
        return
    state_after(Order.DELETE, find(connection, name))
    idempotency.remember(connection, TENANT, method, request_id, request_sha256, name, now)
    jobs.remove(connection, TENANT, name)


def _order(
    connection: Connection, order: Order, name: str, request_id: str, request_sha256: str, now: int,
    limits: Limits | None = None,
) -> JobRecord:  # fmt: skip
    """Do what callers may ask of a job that goes on. Raises FailedPrecondition where it may not be asked now."""
    job = find(connection, name)
    if idempotency.recall(connection, TENANT, order.method, request_id, request_sha256) is not None:
        return job
    idempotency.remember(connection, TENANT, order.method, request_id, request_sha256, name, now)
    after = state_after(order, job)
    if limits is not None and after is JobState.QUEUED is not job.state:
        _refuse_if_crowded(connection, limits)
    if after is not job.state:
        move(connection, job, (job.state,), after, now)
    elif job.state in _TOLD_TO_STOP:
        jobs.want(connection, TENANT, name, job.attempt, JobState.PAUSED if order is Order.PAUSE else None)
    return find(connection, name)


def _refuse_if_crowded(connection: Connection, limits: Limits) -> None:
    """Raises ResourceExhausted (QUOTA_EXCEEDED) if as many jobs wait as may."""
    waiting = jobs.waiting(connection, TENANT)
    if waiting >= limits.max_queued_jobs:
        raise ResourceExhausted(
            Reason.QUOTA_EXCEEDED,
            f"{waiting} jobs wait already and {limits.max_queued_jobs} may; wait until one of them has begun, or "
            "cancel or pause one",
            metadata={"limit": "max_queued_jobs", "value": str(limits.max_queued_jobs)},
            retry_seconds=_QUEUE_SECONDS,
            quota=f"tenants/{TENANT}",
        )


def claim(
    connection: Connection, now: int, owner: str = "", lease: int | None = None, offer: Offer = ANYTHING
) -> JobRecord | None:
    """Begin the next attempt of the QUEUED job whose turn it is: it becomes PENDING, and the owner's.

    None if there is none for which the offer has room.
    """
    found = next_job(connection, offer)
    if found is None:
        return None
    tenant, job = found
    event = convert.job_state_event(JobState.PENDING, job.attempt + 1, now)
    end = _by_one_clock(connection, lease, now)
    changes = {"attempt": job.attempt + 1, "owner": owner, "lease": end, "claim_time": now}
    jobs.advance(connection, tenant, job.name, job.attempt, (JobState.QUEUED,), JobState.PENDING, event, changes)
    return jobs.find(connection, tenant, job.name)


def renew(connection: Connection, job: JobRecord, lease: int, now: int) -> bool:
    """The attempt goes on until `lease` at least; False if it has ended, or another one has begun."""
    end = _by_one_clock(connection, lease, now)
    return end is not None and jobs.renew(connection, TENANT, job.name, job.attempt, job.owner, end)


def _by_one_clock(connection: Connection, lease: int | None, now: int) -> int | None:
    """The end of a lease, which a server told by its own clock, by that of the database, where several share one."""
    return None if lease is None else lease - now + place_of(connection).moment(connection, now)


def move(
    connection: Connection, /, job: JobRecord, sources: Collection[JobState], state: JobState, now: int, **changes: Any
) -> bool:
    """Change the state of a job if it is in one of `sources`, still at `job.attempt`; its ending time is set."""
    assert all(state in NEXT[source] for source in sources), f"{sources} to {state}"
    # This server's clock may be behind that of the one before.
    now = max(now, job.create_time, job.start_time or 0)
    if "start_time" in changes:
        changes["start_time"] = now
    if state in TERMINAL:
        changes["end_time"] = now
    if state not in _ACTIVE:
        changes |= {"owner": "", "lease": None}
    if state not in _TOLD_TO_STOP:
        changes["wanted"] = ""
    event = convert.job_state_event(state, job.attempt, now)
    return jobs.advance(connection, TENANT, job.name, job.attempt, sources, state, event, changes)


def fail(connection: Connection, /, job: JobRecord, failure: Failure, now: int, **changes: Any) -> bool:
    """The job failed for good."""
    return move(connection, job, _ACTIVE, JobState.FAILED, now, error=dump_failure(failure), **changes)


def succeed(
    connection: Connection, job: JobRecord, sampler: str, uid: str, digest: str, report: AnyReport, now: int
) -> bool:
    """The job succeeded: its state, the sampler and the event become visible together."""
    subject = _subject(connection, job)
    if subject is None or not move(
        connection, job, (JobState.RUNNING, JobState.CANCELLING), JobState.SUCCEEDED, now, sampler=sampler
    ):
        return False
    dim, sites = subject
    record = SamplerRecord(
        name=sampler, uid=uid, job=job.name, settings=job.settings, report=report, dim=dim, sites=sites, digest=digest,
        create_time=now, **_made_of(job),
    )  # fmt: skip
    samplers.add(connection, TENANT, record)
    return True


def _made_of(job: JobRecord) -> dict[str, str]:
    """What its sampler needs from now on: a model no target whose score it used, a bridge no draws it began with."""
    if isinstance(job.settings, DenoisingSettings):
        return {"target": "", "target_digest": "", "dataset": job.dataset, "dataset_digest": job.dataset_digest}
    return {"target": job.target, "target_digest": job.target_digest, "dataset": "", "dataset_digest": ""}


def _subject(connection: Connection, job: JobRecord) -> tuple[int, tuple[Site, ...]] | None:
    """Dimension and sites, or columns, of what a job is about; None if that is gone."""
    if isinstance(job.settings, DenoisingSettings):
        dataset = datasets.find(connection, TENANT, job.dataset)
        if dataset is None:
            return None
        return dataset.columns, tuple(Site(column.name, (), "float32") for column in dataset.facts)
    target = targets.find(connection, TENANT, job.target)
    return None if target is None else (target.dim, target.sites)


def take_back(connection: Connection, now: int, dead: Collection[str], late: Mapping[str, int | None]) -> list[str]:
    """Jobs that nobody runs any more wait again, or are cancelled; their names.

    Args:
        connection: Of a write transaction.
        now: By this server's clock.
        dead: Servers that are known to be dead.
        late: Jobs whose leases, these, have ended and are not renewed.
    """
    lost = [job for job in _active(connection) if job.owner in dead or late.get(job.name, _NO_LEASE) == job.lease]
    for job in lost:
        put_back(connection, job, now)
    return [job.name for job in lost]


def late(connection: Connection, now: int) -> dict[str, int | None]:
    """The leases that have ended of jobs that somebody runs, or did."""
    moment = place_of(connection).moment(connection, now)
    return {job.name: job.lease for job in _active(connection) if job.lease is None or job.lease < moment}


def owners(connection: Connection) -> set[str]:
    """The servers that run jobs, or did."""
    return {job.owner for job in _active(connection)}


def _active(connection: Connection) -> list[JobRecord]:
    return [job for job in jobs.unfinished(connection, TENANT) if job.state in _ACTIVE]


def recover(connection: Connection, now: int) -> None:
    """After a start of a lone server: no worker of an earlier one lives. Its jobs wait, are paused or cancelled."""
    for job in jobs.unfinished(connection, TENANT):
        put_back(connection, job, now)


def put_back(connection: Connection, /, job: JobRecord, now: int, **changes: Any) -> JobState | None:
    """A job whose worker is gone waits again, is paused or cancelled, as was asked for.

    Returns its state then; None if it had ended, waited, or was at another attempt: nothing has changed.
    """
    now_stored = jobs.find(connection, TENANT, job.name)
    wanted = JobState.PAUSED if now_stored is not None and now_stored.pausing else JobState.QUEUED
    if move(connection, job, _TOLD_TO_STOP, wanted, now, **changes):
        return wanted
    return JobState.CANCELLED if move(connection, job, (JobState.CANCELLING,), JobState.CANCELLED, now) else None
