"""PostgreSQL, by the driver psycopg.

Several servers may have a database. Whoever writes holds an advisory lock until the transaction ends, so that writers
follow one another over all servers as those of SQLite do. The session that writes holds another one, which says with
which version of the tables: nobody changes these under a server that is at work. What changed is told by NOTIFY. This
needs direct connections, or a pooler in session mode.
"""

import os
import shutil
import subprocess
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, OperationalError

from .files import appearing
from .places import PLACE, DatabaseInUse, DatabaseRefused, Notice, Place
from .versions import latest

__all__ = ["PostgreSql"]

_DRIVER = "postgresql+psycopg"

# Any numbers, the same in every gephyra; locks count within one database. Servers of the tables of version 6 and before
# hold the first for themselves, later ones share that of their version. The last is for those who write.
_OWNER_LOCK = int.from_bytes(b"gephyra")
_LAST_ALONE = 6
_WRITE_LOCK = -_OWNER_LOCK

_CHANNEL = "gephyra"
_ALIVE: Mapping[str, Any] = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3}
_CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

# How long to wait for a writer elsewhere. The next four have the database notice a client that is gone, or that was
# stopped within a transaction; a writer sooner. A commit returns when it is on disk, whatever is the default there.
_IMPATIENCE = "SELECT set_config('idle_in_transaction_session_timeout', '10s', false)"
_SETTINGS = """
SELECT set_config('lock_timeout', '15s', false), set_config('idle_in_transaction_session_timeout', '60s', false),
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
        self._writing = 0

    @property
    def name(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @property
    def absent(self) -> bool:
        return False

    @property
    def shared(self) -> bool:
        return True

    @property
    def patience(self) -> float:
        return 15.0

    def reader(self, connections: int) -> Engine:
        engine = self._engine(connections)
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def writer(self) -> Engine:
        engine = self._engine(1)

        @event.listens_for(engine, "connect")
        def join(connection: Any, record: Any) -> None:
            with _closed_if_refused(connection):
                _join(connection, self.name)
            self._writing = connection.info.backend_pid

        @event.listens_for(engine, "begin")
        def take_turn(connection: Connection) -> None:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")

        return engine.execution_options(isolation_level="READ COMMITTED")

    def exclude(self, connection: Connection, version: int) -> None:
        try:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_version_lock(version)})")
        except OperationalError as error:
            raise DatabaseInUse(
                f"the tables of the database {self.name} are of version {version} and in use by another gephyra "
                "server; stop every server before the first of a later version is started"
            ) from error

    def moment(self, connection: Connection, now: int) -> int:
        found: int = connection.exec_driver_sql(_CLOCK).scalar_one()
        return found

    def announce(self, connection: Connection, notice: Notice) -> None:
        connection.execute(select(func.pg_notify(_CHANNEL, f"{notice.name} {notice.state}")))

    async def notices(self) -> AsyncGenerator[Notice, None]:
        import psycopg

        conninfo = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        session = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, connect_timeout=5, application_name="gephyra", **_ALIVE
        )
        async with session:
            await session.execute(f"LISTEN {_CHANNEL}")
            yield Notice("", "")
            async for heard in session.notifies():
                if heard.pid != self._writing:
                    name, _, state = heard.payload.partition(" ")
                    yield Notice(name, state)

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
            connect_args={"connect_timeout": 5, "application_name": "gephyra", "client_encoding": "utf8", **_ALIVE},
        )

        @event.listens_for(engine, "connect")
        def configure(connection: Any, record: Any) -> None:
            with _closed_if_refused(connection):
                _prepare(connection, self.name)

        return engine.execution_options(**{PLACE: self})


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


def _join(connection: Any, name: str) -> None:
    import psycopg

    _execute(connection, _IMPATIENCE)
    try:
        _execute(connection, f"SELECT pg_advisory_lock_shared({_version_lock(latest())})")
    except psycopg.errors.LockNotAvailable:
        raise DatabaseInUse(f"the tables of the database {name} are being brought to a later version") from None


def _version_lock(version: int) -> int:
    return _OWNER_LOCK + (version if version > _LAST_ALONE else 0)


def _execute(connection: Any, statement: str) -> None:
    """Outside of any transaction."""
    connection.autocommit = True
    try:
        connection.execute(statement)
    finally:
        connection.autocommit = False
