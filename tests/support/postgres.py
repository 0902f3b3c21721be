"""A PostgreSQL server of the tests' own: on loopback, in a folder that goes with it; as `postgres` if we are root."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

MISSING = (
    "PostgreSQL's half is not run: no initdb on PATH or below /usr/lib/postgresql; "
    "Debian: apt-get install postgresql (the tests start a server of their own)"
)
_OWNER = "postgres"
_PATIENCE = 60.0


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest there is; None if there is none, or nobody to run them."""
    if os.geteuid() == 0 and not _known(_OWNER):
        return None
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if on_path is not None:
        found.append(Path(on_path).resolve())
    return found[-1].parent if found else None


def _known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


class PostgresServer:
    """Started at once; `make` makes databases; `stop` and `start` in between as a test likes."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self._user = _OWNER if os.geteuid() == 0 else None
        self._password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="gephyra-postgres-"))
        self._data = self._folder / "data"
        secret = self._folder / "secret"
        secret.write_text(self._password)
        if self._user is not None:
            for path in (self._folder, secret):
                shutil.chown(path, self._user)
        self._run(
            "initdb", f"--pgdata={self._data}", "--username=tester", f"--pwfile={secret}", "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Run the server, which ends with this process; returns when it answers."""
        # It must not outlive this process, or rather the thread that starts it.
        setpriv = shutil.which("setpriv")
        dying = [setpriv, "--pdeathsig=INT"] if setpriv else []
        # The port is kept from one start to the next: sessions that were open must find it again.
        command: list[str | Path] = [
            *dying, self.programs / "postgres", "-D", self._data, "-p", str(self._port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "shared_buffers=16MB",
        ]  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, user=self._user, group=self._user, extra_groups=[] if self._user else None, stdout=log,
                stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self._conninfo("postgres")).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends sessions and closes the files in order; SIGQUIT does not, as in a power cut."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(_PATIENCE)
        self._process = None

    def close(self) -> None:
        """Stop the server and remove all that it had."""
        if self._process is not None:
            self.stop()
        shutil.rmtree(self._folder)

    def make(self) -> str:
        """A fresh database; its URL."""
        name = f"t{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://tester:{self._password}@127.0.0.1:{self._port}/{name}"

    def drop(self, url: str) -> None:
        """Remove a database, whoever uses it."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run SQL as the superuser, outside of any transaction."""
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _conninfo(self, database: str) -> str:
        return f"host=127.0.0.1 port={self._port} user=tester password={self._password} dbname={database}"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments], user=self._user, group=self._user,
            extra_groups=[] if self._user else None, capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
