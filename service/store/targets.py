"""Targets in the database."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, or_, select, update

from gephyra.targets.program import Site

from ..errors import Failure
from . import schema
from .columns import dump_failure, dump_sites, load_failure, load_sites
from .pages import read_page
from .places import Notice, place_of
from .records import TERMINAL, TargetRecord, TargetState

__all__ = [
    "add", "checking", "claim", "find", "page", "release", "remove", "renew", "set_ready", "set_rejected", "users",
]  # fmt: skip

_T = schema.targets.c


def find(connection: Connection, tenant: str, name: str) -> TargetRecord | None:
    """The target of that name."""
    row = connection.execute(select(schema.targets).where(_T.tenant == tenant, _T.name == name)).one_or_none()
    return None if row is None else _record(row)


def page(connection: Connection, tenant: str, size: int, token: str) -> tuple[list[TargetRecord], str]:
    """Targets, newest first, and the token of the next page. Raises InvalidArgument for a foreign token."""
    found = read_page(connection, schema.targets, tenant, size, token)
    return [_record(row) for row in found.rows], found.next_token


def checking(connection: Connection, tenant: str) -> list[str]:
    """Names of the targets that wait for their check."""
    query = select(_T.name).where(_T.tenant == tenant, _T.state == TargetState.CHECKING.value).order_by(_T.id)
    return list(connection.scalars(query))


def claim(
    connection: Connection, tenant: str, uid: str, owner: str, seconds: float, now: int, dead: Collection[str]
) -> bool:
    """A target that waits for its check becomes this server's to check; False if it is another's, or decided.

    It is nobody's any more when its lease has run out, or its server is known to be dead.
    """
    moment = place_of(connection).moment(connection, now)
    free = or_(_T.owner.in_(["", owner, *dead]), _T.lease.is_(None), _T.lease < moment)
    changed = connection.execute(
        update(schema.targets)
        .where(_T.tenant == tenant, _T.uid == uid, _T.state == TargetState.CHECKING.value, free)
        .values(owner=owner, lease=moment + int(seconds * 1e6))
    )
    return changed.rowcount > 0


def renew(connection: Connection, tenant: str, owner: str, seconds: float, now: int) -> None:
    """All checks of this server go on for so long at least."""
    end = place_of(connection).moment(connection, now) + int(seconds * 1e6)
    connection.execute(update(schema.targets).where(_T.tenant == tenant, *_checked_by(owner)).values(lease=end))


def release(connection: Connection, tenant: str, owner: str) -> None:
    """This server checks no more: what it has not decided is for others."""
    changed = update(schema.targets).where(_T.tenant == tenant, *_checked_by(owner)).values(owner="", lease=None)
    for name in connection.scalars(changed.returning(_T.name)).all():
        place_of(connection).announce(connection, Notice(name, TargetState.CHECKING.value))


def add(connection: Connection, tenant: str, target: TargetRecord) -> None:
    """Store a new target."""
    connection.execute(
        insert(schema.targets).values(
            tenant=tenant, name=target.name, uid=target.uid, state=target.state.value, digest=target.digest,
            dim=target.dim, source=target.source, sites=dump_sites(target.sites), log_z=target.log_z,
            error=dump_failure(target.error), create_time=target.create_time,
        )
    )  # fmt: skip


def set_ready(
    connection: Connection, tenant: str, uid: str, dim: int, log_z: float | None, sites: tuple[Site, ...]
) -> None:
    """The check of a target passed. Nothing happens if the target is gone or already decided."""
    _decide(connection, tenant, uid, state=TargetState.READY.value, dim=dim, log_z=log_z, sites=dump_sites(sites))


def set_rejected(connection: Connection, tenant: str, uid: str, error: Failure) -> None:
    """The check of a target failed. Nothing happens if the target is gone or already decided."""
    _decide(connection, tenant, uid, state=TargetState.REJECTED.value, error=dump_failure(error))


def users(connection: Connection, tenant: str, name: str) -> list[str]:
    """Resource names of the unfinished jobs and the samplers that need this target."""
    jobs, samplers = schema.jobs.c, schema.samplers.c
    finished = [state.value for state in TERMINAL]
    by_jobs = select(jobs.name).where(jobs.tenant == tenant, jobs.target == name, jobs.state.not_in(finished))
    by_samplers = select(samplers.name).where(samplers.tenant == tenant, samplers.target == name)
    return [f"trainingJobs/{job}" for job in connection.scalars(by_jobs)] + [
        f"samplers/{sampler}" for sampler in connection.scalars(by_samplers)
    ]


def remove(connection: Connection, tenant: str, name: str) -> None:
    """Forget a target."""
    connection.execute(delete(schema.targets).where(_T.tenant == tenant, _T.name == name))


def _decide(connection: Connection, tenant: str, uid: str, **values: Any) -> None:
    name = connection.scalar(
        update(schema.targets)
        .where(_T.tenant == tenant, _T.uid == uid, _T.state == TargetState.CHECKING.value)
        .values(owner="", lease=None, **values)
        .returning(_T.name)
    )
    if name is not None:
        place_of(connection).announce(connection, Notice(name, ""))


def _checked_by(owner: str) -> tuple[ColumnElement[bool], ...]:
    return (_T.owner == owner, _T.state == TargetState.CHECKING.value)


def _record(row: Row[Any]) -> TargetRecord:
    return TargetRecord(
        name=row.name, uid=row.uid, state=TargetState(row.state), digest=row.digest, dim=row.dim, source=row.source,
        create_time=row.create_time, sites=load_sites(row.sites), log_z=row.log_z, error=load_failure(row.error),
    )  # fmt: skip
