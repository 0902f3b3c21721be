"""How much of a job's history is kept: its newest events. What is left is without gaps and ends with the last one.

So the oldest event that is there tells where the history begins, and that of a terminal state is never dropped. The
state of a job that runs is in its record.
"""

from typing import NamedTuple

from sqlalchemy import Connection, and_, case, delete, func, select

from . import schema
from .records import TERMINAL

__all__ = ["Surplus", "drop", "surplus"]

_J, _E = schema.jobs.c, schema.events.c


class Surplus(NamedTuple):
    """Events of a job that may go."""

    job: int
    first: int
    """Sequence of the oldest event that is there."""
    keep: int
    """Sequence of the oldest event that is to stay."""


def surplus(connection: Connection, tenant: str, most: int, most_ended: int, ended_before: int) -> list[Surplus]:
    """Jobs with more events than they may keep.

    Args:
        connection: Of a read transaction.
        tenant: Whose jobs.
        most: Events that a job may keep, at least 1.
        most_ended: Events that a job may keep that ended before `ended_before`, at least 1.
        ended_before: Microseconds since 1970.
    """
    old = and_(_J.state.in_([state.value for state in TERMINAL]), _J.end_time < ended_before)
    keep = _J.last_sequence + 1 - case((old, min(most, most_ended)), else_=most)
    first = select(func.min(_E.sequence)).where(_E.job == _J.id).scalar_subquery()
    query = select(_J.id, first, keep).where(_J.tenant == tenant, keep > 1, first < keep).order_by(_J.id)
    return [Surplus(*row) for row in connection.execute(query)]


def drop(connection: Connection, job: int, before: int) -> None:
    """Forget the events of a job with a sequence below `before`."""
    connection.execute(delete(schema.events).where(_E.job == job, _E.sequence < before))
