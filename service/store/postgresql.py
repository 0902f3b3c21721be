"""PostgreSQL, by the driver psycopg.

One server a database: the session that writes holds an advisory lock. A server that lost its session, and with it the
lock, gets a new one only while nobody else has it, and writes nothing before that. This needs a direct connection, or a
pooler in session mode.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from .files import appearing
from .places import DatabaseInUse, DatabaseRefused, Place

__all__ = ["PostgreSql"]

_DRIVER = "postgresql+psycopg"

# Any number, the same in every gephyra; the lock counts within one database.
_OWNER_LOCK = int.from_bytes(b"gephyra")

# How long to wait for the lock of a server that is just ending. The next four have the database notice one that is
# gone, or that was stopped within a transaction. A commit returns when it is on disk, whatever is the default there.
_SETTINGS = """
SELECT set_config('lock_timeout', '5s', false), set_config('idle_in_transaction_session_timeout', '60s', false),
       set_config('tcp_keepalives_idle', '20', false), set_config('tcp_keepalives_interval', '10', false),
       set_config('tcp_keepalives_count', '3', false), set_config('synchronous_commit',
           CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit')
           END, false)
"""


class PostgreSql(Place):
    """The database at a URL, `postgresql+psycopg://user:password@host:port/database`.

    Raises DatabaseRefused for another kind of URL, and where psycopg is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = _parsed(url)

    @property
    def name(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @property
    def absent(self) -> bool:
        return False

    @property
    def patience(self) -> float:
        return 15.0

    def reader(self, connections: int) -> Engine:
        engine = self._engine(connections)
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def writer(self) -> Engine:
        engine = self._engine(1)

        @event.listens_for(engine, "connect")
        def own(connection: Any, record: Any) -> None:
            with _closed_if_refused(connection):
                _own(connection, self.name)

        return engine.execution_options(isolation_level="READ COMMITTED")

    def damage(self, connection: Connection) -> list[str]:
        """Looks at no page: `pg_amcheck` does."""
        durable = connection.exec_driver_sql("SHOW fsync").scalar() == "on"
        return [] if durable else ["fsync is off: a power cut may damage the database"]

    def back_up(self, target: Path) -> None:
        dump = shutil.which("pg_dump")
        if dump is None:
            raise DatabaseRefused("a backup of PostgreSQL needs pg_dump: install PostgreSQL's client programs")
        # The password goes by the environment: arguments are for every user of the machine to see.
        url = URL.create(
            "postgresql", self._url.username, None, self._url.host, self._url.port, self._url.database, self._url.query
        ).render_as_string()
        password = {} if self._url.password is None else {"PGPASSWORD": self._url.password}
        with appearing(target) as passing:
            command = [dump, "--format=custom", "--no-owner", f"--file={passing}", f"--dbname={url}"]
            done = subprocess.run(command, env={**os.environ, **password}, capture_output=True, text=True, check=False)
            if done.returncode:
                raise DatabaseRefused(f"pg_dump failed: {done.stderr.strip()}")

    def _engine(self, connections: int) -> Engine:
        # Asked before use: a session that its server has ended is replaced before a transaction begins.
        engine = create_engine(
            self._url,
            pool_size=connections,
            hide_parameters=True,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5, "application_name": "gephyra", "client_encoding": "utf8"},
        )

        @event.listens_for(engine, "connect")
        def configure(connection: Any, record: Any) -> None:
            with _closed_if_refused(connection):
                _prepare(connection, self.name)

        return engine


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseRefused(f"expected a database URL like {_DRIVER}://user@host/database") from None
    if parsed.drivername not in ("postgresql", _DRIVER):
        raise DatabaseRefused(
            f"expected a database URL that begins with {_DRIVER}://, got one with {parsed.drivername}://; "
            "without a URL the rows are kept by SQLite in the data folder"
        )
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise DatabaseRefused("PostgreSQL needs psycopg: pip install 'gephyra[postgres]'") from None
    return parsed.set(drivername=_DRIVER)


@contextmanager
def _closed_if_refused(connection: Any) -> Iterator[None]:
    """The pool forgets a connection whose listener raises."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _prepare(connection: Any, name: str) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise DatabaseRefused(f"the database {name} has encoding {encoding}; create one with ENCODING 'UTF8'")
    _execute(connection, _SETTINGS)


def _own(connection: Any, name: str) -> None:
    import psycopg

    try:
        _execute(connection, f"SELECT pg_advisory_lock({_OWNER_LOCK})")
    except psycopg.errors.LockNotAvailable:
        raise DatabaseInUse(
            f"the database {name} is in use by another gephyra server; connect to that one, stop it, or use another "
            "database"
        ) from None


def _execute(connection: Any, statement: str) -> None:
    """Outside of any transaction."""
    connection.autocommit = True
    try:
        connection.execute(statement)
    finally:
        connection.autocommit = False
