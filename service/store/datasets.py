"""Data sets in the database."""

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from . import schema
from .columns import dump_facts, load_facts
from .pages import read_page
from .records import TERMINAL, ColumnFacts, DatasetRecord

__all__ = ["add", "contents", "find", "find_origin", "page", "remove", "users"]

_D = schema.datasets.c


def find(connection: Connection, tenant: str, name: str) -> DatasetRecord | None:
    """The data set of that name."""
    row = connection.execute(select(schema.datasets).where(_D.tenant == tenant, _D.name == name)).one_or_none()
    return None if row is None else _record(row, load_facts(row.facts))


def find_origin(connection: Connection, tenant: str, origin: str) -> DatasetRecord | None:
    """A data set that was made from the same."""
    query = select(schema.datasets).where(_D.tenant == tenant, _D.origin == origin).order_by(_D.id).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _record(row, load_facts(row.facts))


def page(connection: Connection, tenant: str, size: int, token: str) -> tuple[list[DatasetRecord], str]:
    """Data sets, newest first, without facts of columns, and the token of the next page.

    Raises InvalidArgument for a foreign token.
    """
    found = read_page(connection, schema.datasets, tenant, size, token, omit=("facts",))
    return [_record(row, ()) for row in found.rows], found.next_token


def add(connection: Connection, tenant: str, dataset: DatasetRecord) -> None:
    """Store a new data set."""
    connection.execute(
        insert(schema.datasets).values(
            tenant=tenant, name=dataset.name, uid=dataset.uid, display_name=dataset.display_name,
            origin=dataset.origin, content=dataset.content, digest=dataset.digest, rows=dataset.rows,
            columns=dataset.columns, dtype=dataset.dtype, on_levels=dataset.on_levels, facts=dump_facts(dataset.facts),
            create_time=dataset.create_time,
        )
    )  # fmt: skip


def remove(connection: Connection, tenant: str, name: str) -> None:
    """Forget a data set, if it is there."""
    connection.execute(delete(schema.datasets).where(_D.tenant == tenant, _D.name == name))


def users(connection: Connection, tenant: str, name: str) -> list[str]:
    """Resource names of the unfinished jobs and the samplers that need this data set."""
    jobs, samplers = schema.jobs.c, schema.samplers.c
    finished = [state.value for state in TERMINAL]
    by_jobs = select(jobs.name).where(jobs.tenant == tenant, jobs.dataset == name, jobs.state.not_in(finished))
    by_samplers = select(samplers.name).where(samplers.tenant == tenant, samplers.dataset == name)
    return [f"trainingJobs/{job}" for job in connection.scalars(by_jobs)] + [
        f"samplers/{sampler}" for sampler in connection.scalars(by_samplers)
    ]


def contents(connection: Connection) -> set[str]:
    """Digests of all content that data sets need, whoever owns them."""
    return set(connection.scalars(select(_D.content).distinct()))


def _record(row: Row[Any], facts: tuple[ColumnFacts, ...]) -> DatasetRecord:
    return DatasetRecord(
        name=row.name, uid=row.uid, display_name=row.display_name, origin=row.origin, content=row.content,
        digest=row.digest, rows=row.rows, columns=row.columns, dtype=row.dtype, on_levels=row.on_levels,
        create_time=row.create_time, facts=facts,
    )  # fmt: skip
