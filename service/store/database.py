"""The store: transactions on one database, by one writer thread and several readers, nothing on the event loop.

What the database does not do is told as Unavailable: nothing was changed, unless it went away in the middle of a
commit, when nobody knows. Requests have ids for that, changes of a job its attempt. A full disk stays what it is.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from ..errors import Reason, Unavailable
from ..full import is_full
from .places import DatabaseInUse, DatabaseRefused, Place
from .sqlite import Sqlite
from .versions import upgrade

__all__ = ["Store"]

P = ParamSpec("P")
T = TypeVar("T")

_READERS = 4
_PAUSE = 0.25
# PostgreSQL's idle_in_transaction_session_timeout.
_IDLE_FOR_LONG = "25P03"


class Store:
    """A database, its tables made if missing, brought to this version's if older; a path is a file of SQLite.

    Raises SchemaMismatch for a later version's, DatabaseInUse, DatabaseRefused. Close it when done.

    Attributes:
        place: Where the rows are.
        on_write: Told the seconds of every `write`, from asking for it to its commit.
    """

    def __init__(self, place: Place | Path) -> None:
        place = Sqlite(place) if isinstance(place, Path) else place
        self.place = place
        self._reads, self._writes = place.reader(_READERS), place.writer()
        self._reader = ThreadPoolExecutor(_READERS, "gephyra-store-read")
        self._writer = ThreadPoolExecutor(1, "gephyra-store-write")
        self.on_write: Callable[[float], None] = lambda seconds: None
        self._hurry = threading.Event()
        # A database that cannot be had at the start is a mistake; later it is one that is being restarted.
        self._patience = 0.0
        try:
            with self._connect(self._writes) as connection, connection.begin():
                self.upgraded_from = upgrade(connection)
        except OperationalError as error:
            self.close()
            if is_full(error):
                raise
            raise DatabaseRefused(f"cannot open the database {place.name}: {error.orig}") from None
        except BaseException:
            self.close()
            raise
        self._patience = place.patience

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
        with self._transaction(self._reads) as connection:
            return function(connection, *args, **kwargs)

    def write_now(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` for callers that may block."""
        with self._transaction(self._writes) as connection:
            return function(connection, *args, **kwargs)

    def hurry(self) -> None:
        """From now on do not wait for a database that is away: this process is about to end."""
        self._hurry.set()

    def close(self) -> None:
        """Finish what was begun and close every connection."""
        self.hurry()
        self._writer.shutdown()
        self._reader.shutdown()
        for engine in (self._reads, self._writes):
            engine.dispose()

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with self._connect(engine) as connection, connection.begin():
                yield connection
        except DBAPIError as error:
            if is_full(error) or not _gone(error):
                raise
            raise Unavailable(Reason.DATABASE_UNAVAILABLE, f"the database failed: {error.orig}") from error
        except DatabaseInUse as error:
            raise Unavailable(Reason.DATABASE_UNAVAILABLE, str(error)) from error

    def _connect(self, engine: Engine) -> Connection:
        """A connection, also where the database is being restarted: until it is there, nothing was begun."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return engine.connect()
            except OperationalError:
                if time.monotonic() >= deadline or self._hurry.wait(_PAUSE):
                    raise

    @staticmethod
    async def _run(executor: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, call)


def _gone(error: DBAPIError) -> bool:
    """Whether the database failed, not what it was asked; it may also have ended a session that was idle for long."""
    ended = error.connection_invalidated or getattr(error.orig, "sqlstate", "") == _IDLE_FOR_LONG
    return isinstance(error, OperationalError) or ended
