"""Version 1, gephyra 0.1.0: targets, jobs with their events, samplers."""

from alembic.operations import Operations
from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    UniqueConstraint,
)  # fmt: skip

from gephyra.service.store.types import DOCUMENT, NUMBER

__all__ = ["down_revision", "revision", "upgrade"]

revision = "1"
down_revision = None


def upgrade(op: Operations) -> None:
    """Make the tables."""
    op.create_table(
        "versions", Column("subject", String, nullable=False), Column("version", Integer, nullable=False),
        PrimaryKeyConstraint("subject"),
    )  # fmt: skip
    op.create_table(
        "targets",
        *_named(),
        Column("state", String, nullable=False),
        Column("digest", String, nullable=False),
        Column("dim", Integer, nullable=False),
        Column("source", String, nullable=False),
        Column("sites", DOCUMENT, nullable=False),
        Column("log_z", Float),
        Column("error", DOCUMENT),
        Column("create_time", BigInteger, nullable=False),
        UniqueConstraint("tenant", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "blobs",
        Column("tenant", String, nullable=False),
        Column("sha256", String, nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("create_time", BigInteger, nullable=False),
        PrimaryKeyConstraint("tenant", "sha256"),
    )
    op.create_table(
        "idempotency",
        Column("tenant", String, nullable=False),
        Column("method", String, nullable=False),
        Column("request_id", String, nullable=False),
        Column("request_sha256", String, nullable=False),
        Column("name", String, nullable=False),
        Column("create_time", BigInteger, nullable=False),
        PrimaryKeyConstraint("tenant", "method", "request_id"),
    )
    _jobs(op)
    _samplers(op)


def _named() -> list[Column[object]]:
    return [
        Column("id", NUMBER, primary_key=True, autoincrement=True),
        Column("tenant", String, nullable=False),
        Column("name", String, nullable=False),
        Column("uid", String, nullable=False),
    ]


def _jobs(op: Operations) -> None:
    op.create_table(
        "jobs",
        *_named(),
        Column("target", String, nullable=False),
        Column("target_digest", String, nullable=False),
        Column("settings", DOCUMENT, nullable=False),
        Column("state", String, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("crashes", Integer, nullable=False),
        Column("error", DOCUMENT),
        Column("sampler", String, nullable=False),
        Column("metrics", DOCUMENT),
        Column("last_sequence", NUMBER, nullable=False),
        Column("create_time", BigInteger, nullable=False),
        Column("start_time", BigInteger),
        Column("end_time", BigInteger),
        UniqueConstraint("tenant", "name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_state", "jobs", ["state"])
    op.create_table(
        "events",
        Column("job", NUMBER, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        Column("sequence", NUMBER, nullable=False),
        Column("content", LargeBinary, nullable=False),
        PrimaryKeyConstraint("job", "sequence"),
    )


def _samplers(op: Operations) -> None:
    op.create_table(
        "samplers",
        *_named(),
        Column("target", String, nullable=False),
        Column("target_digest", String, nullable=False),
        Column("job", String, nullable=False),
        Column("settings", DOCUMENT, nullable=False),
        Column("report", DOCUMENT, nullable=False),
        Column("dim", Integer, nullable=False),
        Column("sites", DOCUMENT, nullable=False),
        Column("digest", String, nullable=False),
        Column("create_time", BigInteger, nullable=False),
        UniqueConstraint("tenant", "name"),
        sqlite_autoincrement=True,
    )
