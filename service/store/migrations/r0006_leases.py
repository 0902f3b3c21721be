"""Version 6: which server runs a job, and until when that holds if nothing more is heard."""

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, String

from gephyra.service.store.types import EMPTY

__all__ = ["down_revision", "revision", "upgrade"]

revision = "6"
down_revision = "5"


def upgrade(op: Operations) -> None:
    """Jobs until now are nobody's: the next start puts back what was running."""
    op.add_column("jobs", Column("owner", String, nullable=False, server_default=EMPTY))
    op.add_column("jobs", Column("lease", BigInteger))
