"""Version 5: a database knows who it is, so that a folder of artefacts is not taken for another's."""

import uuid

from alembic.operations import Operations
from sqlalchemy import Column, PrimaryKeyConstraint, String, insert

__all__ = ["down_revision", "revision", "upgrade"]

revision = "5"
down_revision = "4"


def upgrade(op: Operations) -> None:
    """Make the table, with its one row."""
    table = op.create_table("identity", Column("uid", String, nullable=False), PrimaryKeyConstraint("uid"))
    op.execute(insert(table).values(uid=str(uuid.uuid4())))
