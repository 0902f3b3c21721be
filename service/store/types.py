"""Types of columns that both databases understand, each written as the database has it."""

import json
from typing import Any

from sqlalchemy import JSON, BigInteger, Dialect, Integer, Text, TypeDecorator, text

__all__ = ["DOCUMENT", "EMPTY", "NUMBER", "JsonText"]


class JsonText(TypeDecorator[Any]):
    """JSON as Python writes it. PostgreSQL's own type refuses NaN and infinities, which metrics and reports have."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """As the driver gets it."""
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """As the caller gets it."""
        return None if value is None else json.loads(value)


DOCUMENT = JSON(none_as_null=True).with_variant(JsonText(), "postgresql")
"""A JSON value, or NULL for None."""

# SQLite numbers rows by itself only in a column that is called INTEGER; it has 64 bits there.
NUMBER = BigInteger().with_variant(Integer(), "sqlite")
"""Ids and sequence numbers: 64 bits."""

EMPTY = text("''")
"""The empty text as a default, in a form that alembic can compare."""
