"""The database: SQLite in WAL mode, one writer thread and several readers, nothing on the event loop.

A write transaction starts with BEGIN IMMEDIATE: one that reads first and writes later would otherwise get
SQLITE_BUSY at once when another writer came between, whatever the timeout. With `synchronous=FULL` a commit
that returned survives a power cut.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, insert, select, update

from .schema import SCHEMA_VERSION, UPGRADES, metadata, versions

__all__ = ["SchemaMismatch", "Store"]

P = ParamSpec("P")
T = TypeVar("T")

_BUSY_TIMEOUT_MS = 5000
_READERS = 4


class SchemaMismatch(Exception):
    """The database was made by a later version of gephyra, with other tables."""


class Store:
    """A database file, made if missing, brought to this version's tables if older.

    Raises SchemaMismatch for a later version's. Close it when done.

    Attributes:
        on_write: Told the seconds of every `write`, from asking for it to its commit.
    """

    def __init__(self, path: Path) -> None:
        self._engines = {begin: _engine(path, begin) for begin in ("BEGIN", "BEGIN IMMEDIATE")}
        self._reader = ThreadPoolExecutor(_READERS, "gephyra-store-read")
        self._writer = ThreadPoolExecutor(1, "gephyra-store-write")
        self.on_write: Callable[[float], None] = lambda seconds: None
        try:
            self.write_now(_check_schema)
        except SchemaMismatch:
            self.close()
            raise

    async def read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(connection, ...)` in a read transaction on another thread."""
        return await self._run(self._reader, lambda: self.read_now(function, *args, **kwargs))

    async def write(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(connection, ...)` in a write transaction on the writer thread; durable when it returns.

        A cancelled caller does not stop a transaction that has begun.
        """
        started = time.perf_counter()
        try:
            return await self._run(self._writer, lambda: self.write_now(function, *args, **kwargs))
        finally:
            self.on_write(time.perf_counter() - started)

    def read_now(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read` for callers that may block."""
        with self._engines["BEGIN"].begin() as connection:
            return function(connection, *args, **kwargs)

    def write_now(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` for callers that may block."""
        with self._engines["BEGIN IMMEDIATE"].begin() as connection:
            return function(connection, *args, **kwargs)

    def close(self) -> None:
        """Finish what was begun and close every connection."""
        self._writer.shutdown()
        self._reader.shutdown()
        for engine in self._engines.values():
            engine.dispose()

    @staticmethod
    async def _run(executor: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, call)


def _engine(path: Path, begin: str) -> Engine:
    engine = create_engine(f"sqlite:///{path}", pool_size=_READERS)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        # The driver must not begin transactions by itself; `start` below does.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout = {_BUSY_TIMEOUT_MS}", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON",
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _check_schema(connection: Connection) -> None:
    metadata.create_all(connection)
    found = connection.scalar(select(versions.c.version).where(versions.c.subject == "schema"))
    if found is None:
        connection.execute(insert(versions).values(subject="schema", version=SCHEMA_VERSION))
        return
    if found > SCHEMA_VERSION:
        raise SchemaMismatch(
            f"the database has schema version {found}, this gephyra knows those up to {SCHEMA_VERSION}; "
            "use the gephyra that made it, or another data folder"
        )
    for version in range(found, SCHEMA_VERSION):
        for statement in UPGRADES[version]:
            connection.exec_driver_sql(statement)
    connection.execute(update(versions).where(versions.c.subject == "schema").values(version=SCHEMA_VERSION))
