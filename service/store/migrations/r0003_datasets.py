"""Version 3: data sets."""

from alembic.operations import Operations
from sqlalchemy import BigInteger, Boolean, Column, Integer, String, UniqueConstraint

from gephyra.service.store.types import DOCUMENT, NUMBER

__all__ = ["down_revision", "revision", "upgrade"]

revision = "3"
down_revision = "2"


def upgrade(op: Operations) -> None:
    """Make their table."""
    op.create_table(
        "datasets",
        Column("id", NUMBER, primary_key=True, autoincrement=True),
        Column("tenant", String, nullable=False),
        Column("name", String, nullable=False),
        Column("uid", String, nullable=False),
        Column("display_name", String, nullable=False),
        Column("origin", String, nullable=False),
        Column("content", String, nullable=False),
        Column("digest", String, nullable=False),
        Column("rows", BigInteger, nullable=False),
        Column("columns", Integer, nullable=False),
        Column("dtype", String, nullable=False),
        Column("on_levels", Boolean, nullable=False),
        Column("facts", DOCUMENT, nullable=False),
        Column("create_time", BigInteger, nullable=False),
        UniqueConstraint("tenant", "name"),
        sqlite_autoincrement=True,
    )
    for name in ("origin", "content"):
        op.create_index(f"ix_datasets_{name}", "datasets", [name])
