"""Version 8: what an attempt shall leave its job as, which job another one repeats, and whose turn it was last."""

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, String

from gephyra.service.store.types import EMPTY

__all__ = ["down_revision", "revision", "upgrade"]

revision = "8"
down_revision = "7"


def upgrade(op: Operations) -> None:
    """Nobody asked for a pause until now, and everybody's turn was equally long ago."""
    op.add_column("jobs", Column("wanted", String, nullable=False, server_default=EMPTY))
    op.add_column("jobs", Column("retry_of", String, nullable=False, server_default=EMPTY))
    op.add_column("jobs", Column("claim_time", BigInteger))
