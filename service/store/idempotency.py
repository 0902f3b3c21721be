"""A request that is sent twice acts once: its id is stored in the transaction that does what it asks."""

from sqlalchemy import Connection, delete, insert, select

from ..errors import InvalidArgument, Reason
from . import schema

__all__ = ["forget_before", "recall", "remember"]

_I = schema.idempotency.c


def recall(connection: Connection, tenant: str, method: str, request_id: str, request_sha256: str) -> str | None:
    """Name of the resource that this request made before; None if it is new or has no id.

    Raises InvalidArgument (REQUEST_ID_REUSED) if the id came with other content.
    """
    if not request_id:
        return None
    key = (_I.tenant == tenant, _I.method == method, _I.request_id == request_id)
    row = connection.execute(select(_I.request_sha256, _I.name).where(*key)).one_or_none()
    if row is None:
        return None
    if row.request_sha256 != request_sha256:
        raise InvalidArgument.at(
            Reason.REQUEST_ID_REUSED, "request_id", f"{request_id} was used for another request; send a fresh UUID"
        )
    name: str = row.name
    return name


def remember(
    connection: Connection, tenant: str, method: str, request_id: str, request_sha256: str, name: str, now: int
) -> None:
    """Store what a request made. Nothing happens without an id."""
    if request_id:
        connection.execute(
            insert(schema.idempotency).values(
                tenant=tenant,
                method=method,
                request_id=request_id,
                request_sha256=request_sha256,
                name=name,
                create_time=now,
            )
        )


def forget_before(connection: Connection, time: int) -> None:
    """Drop ids older than `time` (microseconds)."""
    connection.execute(delete(schema.idempotency).where(_I.create_time < time))
