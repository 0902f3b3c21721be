"""What rows name of the files beside the database, whoever owns them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, delete, select

from . import schema
from .records import JobState

__all__ = ["Roots", "forget_blobs", "roots"]

_T, _S, _J, _D, _B = (
    table.c for table in (schema.targets, schema.samplers, schema.jobs, schema.datasets, schema.blobs)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Roots:
    """Digests and names at one moment."""

    definitions: frozenset[str]
    """Of targets, and of what samplers and jobs were made on."""
    files: frozenset[str]
    """Samplers, and what jobs start from."""
    blobs: frozenset[str]
    """Uploads that wait to be taken."""
    datasets: frozenset[str]
    """Contents of data sets."""
    jobs: frozenset[str]
    """Names."""


def roots(connection: Connection, blobs_since: int) -> Roots:
    """What rows name; a blob counts from `blobs_since` on, in microseconds since 1970.

    A job counts unless it succeeded: one that failed may be tried again.
    """
    waiting = _J.state != JobState.SUCCEEDED.value

    def texts(*queries: Select[Any]) -> frozenset[str]:
        return frozenset(text for query in queries for text in connection.scalars(query) if text)

    return Roots(
        definitions=texts(select(_T.digest), select(_S.target_digest), select(_J.target_digest).where(waiting)),
        files=texts(select(_S.digest), select(_J.start_digest).where(waiting)),
        blobs=texts(select(_B.sha256).where(_B.create_time >= blobs_since)),
        datasets=texts(select(_D.content)),
        jobs=texts(select(_J.name)),
    )


def forget_blobs(connection: Connection, before: int) -> int:
    """Forget blobs that have waited since before a time; how many."""
    return connection.execute(delete(schema.blobs).where(_B.create_time < before)).rowcount
