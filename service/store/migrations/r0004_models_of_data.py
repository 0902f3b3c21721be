"""Version 4: jobs and samplers may be about a data set."""

from alembic.operations import Operations
from sqlalchemy import Column, String

from gephyra.service.store.types import EMPTY

__all__ = ["down_revision", "revision", "upgrade"]

revision = "4"
down_revision = "3"


def upgrade(op: Operations) -> None:
    """Jobs and samplers until now are about targets."""
    for table in ("jobs", "samplers"):
        for name in ("dataset", "dataset_digest"):
            op.add_column(table, Column(name, String, nullable=False, server_default=EMPTY))
