"""Tables. Rows are keyed by (tenant, name); `id` orders them by creation."""

from collections.abc import Mapping, Sequence

from sqlalchemy import (
    JSON,
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

__all__ = [
    "SCHEMA_VERSION", "UPGRADES", "blobs", "datasets", "events", "idempotency", "jobs", "metadata", "samplers",
    "targets", "versions",
]  # fmt: skip

# Raised with every change of a table or of a JSON column; start-up refuses a folder of a later version.
SCHEMA_VERSION = 4

UPGRADES: Mapping[int, Sequence[str]] = {
    # Settings and reports in JSON got fields, which have defaults.
    1: [
        "ALTER TABLE jobs ADD COLUMN start VARCHAR NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN start_digest VARCHAR NOT NULL DEFAULT ''",
    ],
    # The table of data sets, which is new.
    2: [],
    3: [
        f"ALTER TABLE {table} ADD COLUMN {column} VARCHAR NOT NULL DEFAULT ''"
        for table in ("jobs", "samplers")
        for column in ("dataset", "dataset_digest")
    ],
}
"""What leads from each earlier version to the next, as SQL; tables that are not there are made before that."""

metadata = MetaData()

versions = Table(
    "versions", metadata, Column("subject", String, primary_key=True), Column("version", Integer, nullable=False)
)

targets = Table(
    "targets", metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("tenant", String, nullable=False),
    Column("name", String, nullable=False),
    Column("uid", String, nullable=False),
    Column("state", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("source", String, nullable=False),
    Column("sites", JSON, nullable=False),
    Column("log_z", Float),
    Column("error", JSON(none_as_null=True)),
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
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("tenant", String, nullable=False),
    Column("name", String, nullable=False),
    Column("uid", String, nullable=False),
    Column("target", String, nullable=False),
    Column("target_digest", String, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("start", String, nullable=False, server_default=""),
    Column("start_digest", String, nullable=False, server_default=""),
    Column("dataset", String, nullable=False, server_default=""),
    Column("dataset_digest", String, nullable=False, server_default=""),
    Column("state", String, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("sampler", String, nullable=False),
    Column("metrics", JSON(none_as_null=True)),
    Column("last_sequence", Integer, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    UniqueConstraint("tenant", "name"),
    sqlite_autoincrement=True,
)  # fmt: skip

events = Table(
    "events", metadata,
    Column("job", Integer, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)  # fmt: skip

samplers = Table(
    "samplers", metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("tenant", String, nullable=False),
    Column("name", String, nullable=False),
    Column("uid", String, nullable=False),
    Column("target", String, nullable=False),
    Column("target_digest", String, nullable=False),
    Column("dataset", String, nullable=False, server_default=""),
    Column("dataset_digest", String, nullable=False, server_default=""),
    Column("job", String, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("report", JSON, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("sites", JSON, nullable=False),
    Column("digest", String, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    UniqueConstraint("tenant", "name"),
    sqlite_autoincrement=True,
)  # fmt: skip

datasets = Table(
    "datasets", metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
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
    Column("facts", JSON, nullable=False),
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
