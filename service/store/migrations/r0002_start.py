"""Version 2, gephyra 0.2.0: a job may go on from a sampler. Settings and reports got fields, which have defaults."""

from alembic.operations import Operations
from sqlalchemy import Column, String

from gephyra.service.store.types import EMPTY

__all__ = ["down_revision", "revision", "upgrade"]

revision = "2"
down_revision = "1"


def upgrade(op: Operations) -> None:
    """Jobs until now start from nothing."""
    for name in ("start", "start_digest"):
        op.add_column("jobs", Column(name, String, nullable=False, server_default=EMPTY))
