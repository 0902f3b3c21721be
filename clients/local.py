"""A server of one's own: started with exec, on a Unix socket in a private folder, ended with its client.

The server reads a pipe on its standard input and ends at its end, so it does not outlive this process
however that dies. It runs in a session of its own: Ctrl-C in the terminal reaches the client only.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import weakref
from importlib.util import find_spec
from pathlib import Path

import gephyra

from .errors import FailedPrecondition, FolderLocked, GephyraError, ServerGone, ServerNotInstalled

__all__ = [
    "ARTEFACTS_URL",
    "DATABASE_URL",
    "LocalHost",
    "require_server",
    "server_command",
    "server_environment",
    "server_module",
]

ARTEFACTS_URL = "GEPHYRA_ARTEFACTS_URL"
"""Where a server finds the URL of its store of artefacts."""

DATABASE_URL = "GEPHYRA_DATABASE_URL"
"""Where a server finds the URL of its database: arguments are for all to see, and the URL has a password."""

_READY = "gephyra: serving on "
_START_SECONDS = 60.0
# The server drains for up to 30 s: running jobs write a checkpoint first.
_STOP_SECONDS = 40.0
_LOCKED_EXIT_CODE = 5
_NEEDED = ("sqlalchemy", "safetensors", "torch")


class LocalHost:
    """The embedded server over one data folder; see `Client.local`."""

    embedded = True

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).absolute()
        self._process: subprocess.Popen[str] | None = None
        self._private: Path | None = None

    async def start(self) -> str:
        """Start the server; its address.

        Raises FolderLocked if another server owns the folder, ServerNotInstalled without the `server` extra,
        FailedPrecondition if it does not come up.
        """
        require_server()
        # A socket path is limited to 107 characters, so it cannot lie in the data folder.
        self._private = Path(tempfile.mkdtemp(prefix="gephyra-"))
        self._process = self._spawn(self._private / "server.sock")
        # If the client is never closed: at exit, or when it is collected.
        self._finalizer = weakref.finalize(self, _abandon, self._process, self._private)
        try:
            return await self._address()
        except BaseException:
            await self.close()
            raise

    def explain(self, error: ServerGone) -> GephyraError:
        """What the server said last, if it has ended."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return error
        gone = ServerGone(f"the embedded server ended with exit code {code}; make a new client{self._last_words()}")
        gone.retryable = False
        return gone

    async def close(self) -> None:
        """Ask the server to drain and end, wait for it, and remove the private folder."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, _STOP_SECONDS)
        if process.poll() is None:
            process.kill()
            await asyncio.to_thread(process.wait)
        _close_pipes(process)
        self._finalizer()

    def _spawn(self, socket: Path) -> subprocess.Popen[str]:
        # Its last lines may be shown to a person.
        words = ["--socket", str(socket), "--exit-with-stdin", "--log-format", "text"]
        command = [*server_command(self.folder), *words]
        with (socket.parent / "server.log").open("w") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                # An embedded server keeps everything in its folder.
                env={**server_environment(), ARTEFACTS_URL: "", DATABASE_URL: ""},
            )

    async def _address(self) -> str:
        """Wait for the line that says where the server listens."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await asyncio.to_thread(process.stdout.readline)
        except BaseException:
            process.kill()  # Frees the thread that reads.
            raise
        if line.startswith(_READY):
            return line.removeprefix(_READY).strip()
        code = await asyncio.to_thread(process.wait, _STOP_SECONDS)
        if code == _LOCKED_EXIT_CODE:
            raise FolderLocked(
                f"the data folder {self.folder} belongs to another server that is running; "
                f"connect to that one, close it, or use another folder{self._last_words()}"
            )
        raise FailedPrecondition(
            f"the embedded server ended with exit code {code} before it was ready{self._last_words()}",
            reason="SERVER_DID_NOT_START",
        )

    def _last_words(self, lines: int = 15) -> str:
        """The end of the server's log, to be put behind a sentence."""
        if self._private is None:
            return ""
        with contextlib.suppress(OSError):
            text = (self._private / "server.log").read_text(errors="replace").strip()
            return f"; it said:\n{chr(10).join(text.splitlines()[-lines:])}\n" if text else ""
        return ""


def require_server() -> None:
    """Raise ServerNotInstalled unless the `server` extra is there."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ServerNotInstalled(
            f"a server needs {', '.join(missing)}: pip install 'gephyra[server]', "
            "or connect to a server elsewhere with Client('host:port')"
        )


def server_module(name: str) -> list[str]:
    """The command that runs a module of the server."""
    # -P: nothing in the current folder may take the place of a module of Python's.
    return [sys.executable, "-P", "-m", name]


def server_command(folder: Path) -> list[str]:
    """The command that runs a server over a data folder, without its address."""
    return [*server_module("gephyra.service"), "--data", str(folder)]


def server_environment() -> dict[str, str]:
    """This process' environment, in which the server finds the same gephyra, also one that is not installed."""
    root = str(Path(gephyra.__file__).parents[1])
    environment = dict(os.environ)
    if root not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{known}" if known else root
    return environment


def _close_pipes(process: "subprocess.Popen[str]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _abandon(process: "subprocess.Popen[str]", folder: Path) -> None:
    """Let the server end by itself (the pipe closes), and remove the private folder."""
    _close_pipes(process)
    shutil.rmtree(folder, ignore_errors=True)
