"""Uploaded blobs in the database: which the tenant may refer to."""

from sqlalchemy import Connection, delete, insert, select, update

from . import schema

__all__ = ["add", "remove", "size"]

_B = schema.blobs.c


def add(connection: Connection, tenant: str, sha256: str, size: int, create_time: int) -> None:
    """Store that the tenant has this blob; again makes it young."""
    if _size(connection, tenant, sha256) is None:
        row = {"tenant": tenant, "sha256": sha256, "size": size, "create_time": create_time}
        connection.execute(insert(schema.blobs).values(row))
    else:
        mine = (_B.tenant == tenant) & (_B.sha256 == sha256)
        connection.execute(update(schema.blobs).where(mine).values(create_time=create_time))


def size(connection: Connection, tenant: str, sha256: str) -> int | None:
    """Bytes of a blob of the tenant, or None."""
    return _size(connection, tenant, sha256)


def remove(connection: Connection, tenant: str, sha256: str) -> None:
    """Forget a blob, if it is there."""
    connection.execute(delete(schema.blobs).where(_B.tenant == tenant, _B.sha256 == sha256))


def _size(connection: Connection, tenant: str, sha256: str) -> int | None:
    return connection.scalar(select(_B.size).where(_B.tenant == tenant, _B.sha256 == sha256))
