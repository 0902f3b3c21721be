"""One worker process on this machine: started by exec, spoken to over a socket pair, killed as a group."""

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import IO

from ..config import DATABASE_URL
from ..framing import FrameTooLarge, read_frame, write_frame
from .base import WorkerSpec

__all__ = ["BATCH_BYTES", "WorkerProcess"]

logger = logging.getLogger(__name__)

# Of a reader: about a block of draws, so that one is not read in dozens of pieces.
_BUFFER_BYTES = 1 << 20
# Of messages that are handed over together; a longer one goes alone.
BATCH_BYTES = 4 << 20
# For the kernel to end a killed process; one that waits for a broken disk or network may take for ever.
_REAP_SECONDS = 10.0


class WorkerProcess:
    """A running worker, whose messages are bytes. Not for use by two tasks at once, except `terminate` and `kill`."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._reading: asyncio.Task[bytes | None] | None = None

    @classmethod
    async def start(cls, spec: WorkerSpec) -> "WorkerProcess":
        """Start a worker. Raises OSError."""
        ours, theirs = socket.socketpair()
        process = None
        try:
            with theirs, spec.log.open("ab") as output:
                process = await _exec(theirs, output, spec)
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_BUFFER_BYTES)
        except BaseException:
            ours.close()
            if process is not None:
                process.kill()
            raise
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        """Process id, also that of its group and session."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once it has been reaped."""
        return self._process.returncode is None

    async def send(self, message: bytes) -> None:
        """Hand over a message. Silent if the worker is gone: `receive` will tell."""
        try:
            self._writer.write(write_frame(message))
            await self._writer.drain()
        except ConnectionError:
            pass

    async def receive(self) -> bytes | None:
        """The next message; None when the worker is gone. A worker that talks nonsense is killed."""
        some = await self.receive_some(None, most=1)
        return None if some is None else some[0]

    async def receive_some(self, seconds: float | None, most: int = BATCH_BYTES) -> list[bytes] | None:
        """What there is, after waiting for the first up to `seconds`, None: for ever; None: the worker is gone.

        Cancelled, it has taken nothing: what is being read waits for the next call.

        Args:
            seconds: As said.
            most: Bytes after which no further message is added.
        """
        messages, size = list[bytes](), 0
        while size < most:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read())
            await asyncio.wait([self._reading], timeout=0 if messages else seconds)
            if not self._reading.done():
                return messages
            message = self._reading.result()
            if message is None:
                return messages or None
            self._reading = None
            messages.append(message)
            # An empty one counts too.
            size += max(len(message), 1)
        return messages

    def terminate(self) -> None:
        """SIGTERM to its process group."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to its process group."""
        self._signal(signal.SIGKILL)

    async def close(self, seconds: float = 0.0) -> int:
        """Close the socket, wait up to `seconds` for the worker to end, then kill it. Returns its exit status."""
        self._writer.close()
        try:
            return await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            self.kill()
            return await self._reaped()
        except asyncio.CancelledError:
            self.kill()
            raise

    async def _read(self) -> bytes | None:
        try:
            return await read_frame(self._reader)
        except FrameTooLarge:
            self.kill()
            return None

    async def _reaped(self) -> int:
        try:
            return await asyncio.wait_for(self._process.wait(), _REAP_SECONDS)
        except TimeoutError:
            logger.error("process %d was killed and has not ended; it is given up", self.pid)
            return -signal.SIGKILL

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)


def _without_secrets() -> dict[str, str]:
    """This process' environment for a worker, which has no business with the database."""
    return {name: value for name, value in os.environ.items() if name != DATABASE_URL}


async def _exec(connection: socket.socket, output: IO[bytes], spec: WorkerSpec) -> asyncio.subprocess.Process:
    # The worker finds modules where this process found them.
    safe_path = ["-P"] if sys.flags.safe_path else []
    # A session of its own: Ctrl-C at the terminal is the server's to handle, and the group can be killed.
    return await asyncio.create_subprocess_exec(
        sys.executable, *safe_path, "-m", "gephyra.service.worker",
        "--fd", str(connection.fileno()), "--artefacts", str(spec.artefacts), "--threads", str(spec.threads),
        "--parent", str(os.getpid()), "--heartbeat", str(spec.heartbeat),
        stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[connection.fileno()],
        start_new_session=True, env={**_without_secrets(), **spec.environment},
    )  # fmt: skip
