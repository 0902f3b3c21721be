"""SQLite in WAL mode, a file in the data folder.

A write transaction starts with BEGIN IMMEDIATE: one that reads first and writes later would otherwise get SQLITE_BUSY
at once when another writer came between, whatever the timeout. With `synchronous=FULL` a commit that returned survives
a power cut. The lock of the data folder keeps a second server out.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

from .files import appearing
from .places import PLACE, Notice, Place

__all__ = ["Sqlite"]

_BUSY_TIMEOUT_MS = 5000
_PRAGMAS = (
    f"busy_timeout = {_BUSY_TIMEOUT_MS}", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON",
)  # fmt: skip


class Sqlite(Place):
    """The database in the file `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return str(self._path)

    @property
    def absent(self) -> bool:
        return not self._path.exists()

    @property
    def shared(self) -> bool:
        return False

    @property
    def patience(self) -> float:
        return 0.0

    def reader(self, connections: int) -> Engine:
        return self._engine("BEGIN", connections)

    def writer(self) -> Engine:
        return self._engine("BEGIN IMMEDIATE", 1)

    def exclude(self, connection: Connection, version: int) -> None:
        """Nothing: the lock of the folder does."""

    def moment(self, connection: Connection, now: int) -> int:
        return now

    def announce(self, connection: Connection, notice: Notice) -> None:
        """Nothing: there is nobody else."""

    async def notices(self) -> AsyncGenerator[Notice, None]:
        yield Notice("", "")
        await asyncio.Event().wait()

    def damage(self, connection: Connection) -> list[str]:
        found = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
        orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        return found + [f"row {row[1]} of {row[0]} needs one of {row[2]} that is not there" for row in orphans]

    def back_up(self, target: Path) -> None:
        with appearing(target) as passing, closing(sqlite3.connect(self._path)) as source:
            source.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
            with closing(sqlite3.connect(passing)) as copy:
                source.backup(copy)
                # One file, whatever reads it.
                copy.execute("PRAGMA journal_mode = DELETE")

    def _engine(self, begin: str, connections: int) -> Engine:
        engine = create_engine(f"sqlite:///{self._path}", pool_size=connections, hide_parameters=True)

        @event.listens_for(engine, "connect")
        def configure(connection: Any, record: Any) -> None:
            # The driver must not begin transactions by itself; `start` below does.
            connection.isolation_level = None
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def start(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine.execution_options(**{PLACE: self})
