"""Samplers in the database."""

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from . import schema
from .columns import dump_sites, load_report, load_settings, load_sites
from .pages import read_page
from .records import SamplerRecord

__all__ = ["add", "find", "page", "remove"]

_S = schema.samplers.c


def find(connection: Connection, tenant: str, name: str) -> SamplerRecord | None:
    """The sampler of that name."""
    row = connection.execute(select(schema.samplers).where(_S.tenant == tenant, _S.name == name)).one_or_none()
    return None if row is None else _record(row)


def page(connection: Connection, tenant: str, size: int, token: str) -> tuple[list[SamplerRecord], str]:
    """Samplers, newest first, and the token of the next page. Raises InvalidArgument for a foreign token."""
    found = read_page(connection, schema.samplers, tenant, size, token)
    return [_record(row) for row in found.rows], found.next_token


def add(connection: Connection, tenant: str, sampler: SamplerRecord) -> None:
    """Store a new sampler."""
    connection.execute(
        insert(schema.samplers).values(
            tenant=tenant, name=sampler.name, uid=sampler.uid, target=sampler.target,
            target_digest=sampler.target_digest, job=sampler.job, settings=sampler.settings.to_json(),
            report=sampler.report.to_json(), dim=sampler.dim, sites=dump_sites(sampler.sites), digest=sampler.digest,
            create_time=sampler.create_time, dataset=sampler.dataset, dataset_digest=sampler.dataset_digest,
        )
    )  # fmt: skip


def remove(connection: Connection, tenant: str, name: str) -> bool:
    """Forget a sampler; False if there was none."""
    return connection.execute(delete(schema.samplers).where(_S.tenant == tenant, _S.name == name)).rowcount > 0


def _record(row: Row[Any]) -> SamplerRecord:
    settings = load_settings(row.settings)
    return SamplerRecord(
        name=row.name, uid=row.uid, target=row.target, target_digest=row.target_digest, job=row.job,
        settings=settings, report=load_report(row.report, settings),
        dim=row.dim, sites=load_sites(row.sites), digest=row.digest, create_time=row.create_time, dataset=row.dataset,
        dataset_digest=row.dataset_digest,
    )  # fmt: skip
