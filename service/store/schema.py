"""Tables. Rows are keyed by (tenant, name); `id` orders them by creation.

A change here comes with a file in `migrations/`, which makes it in the databases that are there.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)  # fmt: skip

from .types import DOCUMENT, EMPTY, NUMBER

__all__ = [
    "blobs", "datasets", "events", "idempotency", "identity", "jobs", "metadata", "samplers", "targets", "versions",
]  # fmt: skip

metadata = MetaData()

versions = Table(
    "versions", metadata, Column("subject", String, primary_key=True), Column("version", Integer, nullable=False)
)

# One row: who this database is, and the data folder that it belongs to.
identity = Table(
    "identity", metadata,
    Column("uid", String, primary_key=True),
    Column("folder", String, nullable=False, server_default=EMPTY),
)  # fmt: skip

targets = Table(
    "targets", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("tenant", String, nullable=False),
    Column("name", String, nullable=False),
    Column("uid", String, nullable=False),
    Column("state", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("source", String, nullable=False),
    Column("sites", DOCUMENT, nullable=False),
    Column("log_z", Float),
    Column("error", DOCUMENT),
    Column("owner", String, nullable=False, server_default=EMPTY),
    Column("lease", BigInteger),
    Column("create_time", BigInteger, nullable=False),
    UniqueConstraint("tenant", "name"),
    sqlite_autoincrement=True,
)  # fmt: skip

blobs = Table(
    "blobs", metadata,
    Column("tenant", String, primary_key=True),
    Column("sha256", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("create_time", BigInteger, nullable=False),
)  # fmt: skip

jobs = Table(
    "jobs", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("tenant", String, nullable=False),
    Column("name", String, nullable=False),
    Column("uid", String, nullable=False),
    Column("target", String, nullable=False),
    Column("target_digest", String, nullable=False),
    Column("settings", DOCUMENT, nullable=False),
    Column("start", String, nullable=False, server_default=EMPTY),
    Column("start_digest", String, nullable=False, server_default=EMPTY),
    Column("dataset", String, nullable=False, server_default=EMPTY),
    Column("dataset_digest", String, nullable=False, server_default=EMPTY),
    Column("state", String, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("owner", String, nullable=False, server_default=EMPTY),
    Column("lease", BigInteger),
    Column("wanted", String, nullable=False, server_default=EMPTY),
    Column("retry_of", String, nullable=False, server_default=EMPTY),
    Column("claim_time", BigInteger),
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
)  # fmt: skip

events = Table(
    "events", metadata,
    Column("job", NUMBER, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", NUMBER, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)  # fmt: skip

samplers = Table(
    "samplers", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("tenant", String, nullable=False),
    Column("name", String, nullable=False),
    Column("uid", String, nullable=False),
    Column("target", String, nullable=False),
    Column("target_digest", String, nullable=False),
    Column("dataset", String, nullable=False, server_default=EMPTY),
    Column("dataset_digest", String, nullable=False, server_default=EMPTY),
    Column("job", String, nullable=False),
    Column("settings", DOCUMENT, nullable=False),
    Column("report", DOCUMENT, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("sites", DOCUMENT, nullable=False),
    Column("digest", String, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    UniqueConstraint("tenant", "name"),
    sqlite_autoincrement=True,
)  # fmt: skip

datasets = Table(
    "datasets", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("tenant", String, nullable=False),
    Column("name", String, nullable=False),
    Column("uid", String, nullable=False),
    Column("display_name", String, nullable=False),
    Column("origin", String, nullable=False, index=True),
    Column("content", String, nullable=False, index=True),
    Column("digest", String, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("columns", Integer, nullable=False),
    Column("dtype", String, nullable=False),
    Column("on_levels", Boolean, nullable=False),
    Column("facts", DOCUMENT, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    UniqueConstraint("tenant", "name"),
    sqlite_autoincrement=True,
)  # fmt: skip

idempotency = Table(
    "idempotency", metadata,
    Column("tenant", String, primary_key=True),
    Column("method", String, primary_key=True),
    Column("request_id", String, primary_key=True),
    Column("request_sha256", String, nullable=False),
    Column("name", String, nullable=False),
    Column("create_time", BigInteger, nullable=False),
)  # fmt: skip
