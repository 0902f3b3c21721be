"""Version 7: several servers. Which of them checks a target, and until when; to which folder a database belongs."""

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, String

from gephyra.service.store.types import EMPTY

__all__ = ["down_revision", "revision", "upgrade"]

revision = "7"
down_revision = "6"


def upgrade(op: Operations) -> None:
    """Targets that wait for their check are nobody's; the first server to come says which folder it is."""
    op.add_column("targets", Column("owner", String, nullable=False, server_default=EMPTY))
    op.add_column("targets", Column("lease", BigInteger))
    op.add_column("identity", Column("folder", String, nullable=False, server_default=EMPTY))
