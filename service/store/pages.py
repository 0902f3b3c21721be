"""Pages of a listing, newest first, with tokens that only fit the listing they came from."""

import base64
import binascii
import hashlib
from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Table, select

from ..errors import InvalidArgument, Reason

__all__ = ["Page", "read_page"]


class Page(NamedTuple):
    """Some rows, and the token of the next page (empty at the end)."""

    rows: list[Row[Any]]
    next_token: str


def read_page(
    connection: Connection, table: Table, tenant: str, size: int, token: str, omit: Collection[str] = ()
) -> Page:
    """The page of `table` that follows `token`, without the columns to omit.

    Raises InvalidArgument (PAGE_TOKEN_INVALID) for a foreign token.
    """
    wanted = select(*(column for column in table.c if column.name not in omit))
    query = wanted.where(table.c.tenant == tenant).order_by(table.c.id.desc()).limit(size + 1)
    binding = hashlib.sha256(f"{table.name}\0{tenant}".encode()).digest()[:8]
    if token:
        query = query.where(table.c.id < _position(token, binding))
    rows = list(connection.execute(query))
    if len(rows) <= size:
        return Page(rows, "")
    position: int = rows[size - 1].id
    return Page(rows[:size], base64.urlsafe_b64encode(binding + position.to_bytes(8)).decode())


def _position(token: str, binding: bytes) -> int:
    try:
        content = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != 16 or content[:8] != binding:
        raise InvalidArgument.at(
            Reason.PAGE_TOKEN_INVALID,
            "page_token",
            "expected the next_page_token of this very listing; start again without one",
        )
    # Both databases have integers of 63 bits and a sign.
    return min(int.from_bytes(content[8:]), 2**63 - 1)
