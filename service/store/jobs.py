"""Training jobs and their events in the database.

Every change of state and its event are one transaction, with the next sequence number. Changes made for an
attempt are accepted only while that attempt is the job's current one, so a worker that was given up cannot
write any more.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from . import schema
from .columns import dump_metrics, load_failure, load_metrics, load_settings
from .pages import read_page
from .places import Notice, place_of
from .records import TERMINAL, AnyMetrics, JobRecord, JobState, StoredEvent

__all__ = [
    "PAUSING", "Line", "Position", "add", "advance", "counts", "events_after", "find", "lines", "next_queued", "page",
    "positions", "record", "remove", "renew", "states", "unfinished", "waiting", "want",
]  # fmt: skip

_J = schema.jobs.c
_FINISHED = [state.value for state in TERMINAL]
_AT_WORK = [state.value for state in (JobState.PENDING, JobState.RUNNING, JobState.CANCELLING)]
_TOLD_TO_STOP = [state.value for state in (JobState.PENDING, JobState.RUNNING)]


PAUSING = "pausing"
"""The word, beside those of states, for a job whose attempt is to stop for a pause."""


class Position(NamedTuple):
    """Where a job stands."""

    sequence: int
    word: str
    """Its state, or that it is PAUSING."""


class Line(NamedTuple):
    """The jobs of a tenant, some of which wait."""

    tenant: str
    first: int
    """Row of the oldest job that waits."""
    running: int
    """Jobs that hold slots, on whichever server."""
    served: int
    """When a job of it began last; 0 if none has."""


def find(connection: Connection, tenant: str, name: str) -> JobRecord | None:
    """The job of that name."""
    row = connection.execute(select(schema.jobs).where(_J.tenant == tenant, _J.name == name)).one_or_none()
    return None if row is None else _record(row)


def page(connection: Connection, tenant: str, size: int, token: str) -> tuple[list[JobRecord], str]:
    """Jobs, newest first, and the token of the next page. Raises InvalidArgument for a foreign token."""
    found = read_page(connection, schema.jobs, tenant, size, token)
    return [_record(row) for row in found.rows], found.next_token


def lines(connection: Connection) -> list[Line]:
    """Each tenant that has jobs waiting, in no order."""
    queued = select(_J.tenant, func.min(_J.id)).where(_J.state == JobState.QUEUED.value).group_by(_J.tenant)
    first = {tenant: row for tenant, row in connection.execute(queued)}
    at_work = select(_J.tenant, func.count()).where(_J.state.in_(_AT_WORK)).group_by(_J.tenant)
    running = {tenant: count for tenant, count in connection.execute(at_work)}
    served = _served(connection, first) if len(first) > 1 else {}
    return [Line(tenant, row, running.get(tenant, 0), served.get(tenant, 0)) for tenant, row in first.items()]


def waiting(connection: Connection, tenant: str) -> int:
    """How many jobs of a tenant wait for a worker."""
    query = select(func.count()).select_from(schema.jobs)
    return connection.scalar(query.where(_J.tenant == tenant, _J.state == JobState.QUEUED.value)) or 0


def next_queued(connection: Connection, tenant: str, after: int = 0) -> tuple[int, JobRecord] | None:
    """The oldest job of a tenant that waits for a worker, of those beyond row `after`; and its row."""
    query = select(schema.jobs).where(_J.tenant == tenant, _J.state == JobState.QUEUED.value, _J.id > after)
    row = connection.execute(query.order_by(_J.id).limit(1)).one_or_none()
    return None if row is None else (row.id, _record(row))


def counts(connection: Connection, tenant: str) -> dict[JobState, int]:
    """How many jobs there are in each state that has any."""
    query = select(_J.state, func.count()).where(_J.tenant == tenant).group_by(_J.state)
    return {JobState(state): count for state, count in connection.execute(query)}


def states(connection: Connection) -> dict[str, JobState]:
    """The state of every job of every tenant, by name."""
    return {row.name: JobState(row.state) for row in connection.execute(select(_J.name, _J.state))}


def positions(connection: Connection, tenant: str, names: Collection[str]) -> dict[str, Position]:
    """Where those of these jobs stand that there are."""
    query = select(_J.name, _J.last_sequence, _J.state, _J.wanted).where(_J.tenant == tenant, _J.name.in_(names))
    return {row.name: Position(row.last_sequence, _word(row.state, row.wanted)) for row in connection.execute(query)}


def unfinished(connection: Connection, tenant: str) -> list[JobRecord]:
    """Every job that is not in a terminal state, oldest first."""
    query = select(schema.jobs).where(_J.tenant == tenant, _J.state.not_in(_FINISHED)).order_by(_J.id)
    return [_record(row) for row in connection.execute(query)]


def add(connection: Connection, tenant: str, job: JobRecord, event: bytes) -> None:
    """Store a new job with its first event."""
    connection.execute(
        insert(schema.jobs).values(
            tenant=tenant, name=job.name, uid=job.uid, target=job.target, target_digest=job.target_digest,
            settings=job.settings.to_json(), start=job.start, start_digest=job.start_digest, state=job.state.value,
            dataset=job.dataset, dataset_digest=job.dataset_digest, attempt=job.attempt, crashes=job.crashes,
            sampler="", last_sequence=0, create_time=job.create_time, retry_of=job.retry_of,
        )
    )  # fmt: skip
    _append(connection, tenant, job.name, event, job.state)


def advance(
    connection: Connection, tenant: str, name: str, attempt: int, sources: Collection[JobState], state: JobState,
    event: bytes, changes: Mapping[str, Any] = MappingProxyType({}),
) -> bool:  # fmt: skip
    """Move a job from one of `sources` to `state`, change further columns, append the event.

    Returns False, with nothing changed, if the job is gone, in another state or at another attempt.
    """
    changed = connection.execute(
        update(schema.jobs)
        .where(_J.tenant == tenant, _J.name == name, _J.attempt == attempt, _J.state.in_([s.value for s in sources]))
        .values(state=state.value, **changes)
    )
    if changed.rowcount == 0:
        return False
    _append(connection, tenant, name, event, state)
    return True


def want(connection: Connection, tenant: str, name: str, attempt: int, state: JobState | None) -> bool:
    """The attempt at work shall leave the job in this state, or as usual; False if none is at work, or another one."""
    wanted = state.value if state is not None else ""
    changed = connection.execute(
        update(schema.jobs)
        .where(_J.tenant == tenant, _J.name == name, _J.attempt == attempt, _J.state.in_(_TOLD_TO_STOP))
        .values(wanted=wanted)
    )
    if changed.rowcount and wanted:
        place_of(connection).announce(connection, Notice(name, PAUSING))
    return changed.rowcount > 0


def remove(connection: Connection, tenant: str, name: str) -> None:
    """Delete a job with its events."""
    connection.execute(delete(schema.jobs).where(_J.tenant == tenant, _J.name == name))
    place_of(connection).announce(connection, Notice(name, ""))


def record(
    connection: Connection, tenant: str, name: str, attempt: int, event: bytes, metrics: AnyMetrics | None = None
) -> bool:
    """Append an event of an attempt that is still the current one of an unfinished job; False if it is not."""
    current = (_J.tenant == tenant, _J.name == name, _J.attempt == attempt, _J.state.not_in(_FINISHED))
    if connection.scalar(select(_J.id).where(*current)) is None:
        return False
    if metrics is not None:
        connection.execute(update(schema.jobs).where(*current).values(metrics=dump_metrics(metrics)))
    _append(connection, tenant, name, event)
    return True


def renew(connection: Connection, tenant: str, name: str, attempt: int, owner: str, lease: int) -> bool:
    """An attempt that this owner runs goes on until `lease`; False if it is not the current one of the job."""
    changed = connection.execute(
        update(schema.jobs)
        .where(_J.tenant == tenant, _J.name == name, _J.attempt == attempt, _J.owner == owner)
        .values(lease=lease)
    )
    return changed.rowcount > 0


def events_after(connection: Connection, tenant: str, name: str, sequence: int, limit: int) -> list[StoredEvent]:
    """Events of a job beyond `sequence`, in order, at most `limit` of them."""
    events = schema.events.c
    query = (
        select(events.sequence, events.content)
        .join(schema.jobs, _J.id == events.job)
        .where(_J.tenant == tenant, _J.name == name, events.sequence > sequence)
        .order_by(events.sequence)
        .limit(limit)
    )
    return [StoredEvent(row.sequence, row.content) for row in connection.execute(query)]


def _served(connection: Connection, tenants: Collection[str]) -> dict[str, int]:
    """When a job of each tenant began last. Looks at all their jobs: for those who have to share."""
    query = select(_J.tenant, func.max(_J.claim_time)).where(_J.tenant.in_(tenants), _J.claim_time.is_not(None))
    return {tenant: time for tenant, time in connection.execute(query.group_by(_J.tenant))}


def _append(connection: Connection, tenant: str, name: str, content: bytes, state: JobState | None = None) -> None:
    job = connection.execute(
        update(schema.jobs)
        .where(_J.tenant == tenant, _J.name == name)
        .values(last_sequence=_J.last_sequence + 1)
        .returning(_J.id, _J.last_sequence)
    ).one()
    connection.execute(insert(schema.events).values(job=job.id, sequence=job.last_sequence, content=content))
    place_of(connection).announce(connection, Notice(name, state.value if state else ""))


def _record(row: Row[Any]) -> JobRecord:
    return JobRecord(
        name=row.name, uid=row.uid, target=row.target, target_digest=row.target_digest,
        settings=load_settings(row.settings), state=JobState(row.state),
        create_time=row.create_time, attempt=row.attempt, crashes=row.crashes, error=load_failure(row.error),
        sampler=row.sampler, metrics=load_metrics(row.metrics), last_sequence=row.last_sequence, start=row.start,
        start_digest=row.start_digest, start_time=row.start_time, end_time=row.end_time, dataset=row.dataset,
        dataset_digest=row.dataset_digest, owner=row.owner, lease=row.lease,
        pausing=row.wanted == JobState.PAUSED.value, retry_of=row.retry_of,
    )  # fmt: skip


def _word(state: str, wanted: str) -> str:
    return PAUSING if wanted else state
