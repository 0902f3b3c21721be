"""One worker process as the server sees it: started by exec, spoken to over a socket pair, killed as a group."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from gephyra.protos import worker_pb2

from .config import DATABASE_URL
from .framing import FrameTooLarge, read_frame, write_frame

__all__ = ["WorkerProcess", "serving_environment", "training_environment"]

logger = logging.getLogger(__name__)

_TAIL_BYTES = 4096
# Of a reader: about a block of draws, so that one is not read in dozens of pieces.
_BUFFER_BYTES = 1 << 20
# For the kernel to end a killed process; one that waits for a broken disk or network may take for ever.
_REAP_SECONDS = 10.0
# A silence is looked at so often: if this process itself was stopped for long, what came meanwhile is read first.
_LOOKS = 4


# glibc hands large blocks back to the kernel at every free and asks for them again a moment later: page faults made a
# training step take 72 ms that takes 59 ms with these settings (one core). Other allocators ignore them.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


def serving_environment() -> dict[str, str]:
    """Settings that keep every numerical library in a worker on one thread: sums must not depend on the machine."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return _KEEP_MEMORY | threads | {"XLA_FLAGS": flags}


def training_environment(threads: int) -> dict[str, str]:
    """Settings for a worker that may use several threads.

    Idle OpenMP threads sleep instead of spinning: where the processors are shared, spinning was measured to make
    training 20 to 30 times slower (2 threads on 2 busy cores), and sleeping costs little where they are free.
    """
    passive = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
    return _KEEP_MEMORY | passive


class WorkerProcess:
    """A running worker. Not for use by two tasks at once, except `terminate` and `kill`."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: Path
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._log = log
        self.last_key = ""

    @classmethod
    async def start(
        cls, artefacts: Path, log: Path, threads: int, environment: Mapping[str, str], heartbeat: float = 0.0
    ) -> "WorkerProcess":
        """Start a worker that finds content below `artefacts` and writes its standard streams to `log`.

        It gives a sign of life every `heartbeat` seconds; 0: never.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs, log.open("ab") as output:
                process = await _exec(theirs, artefacts, output, threads, environment, heartbeat)
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_BUFFER_BYTES)
        except BaseException:
            ours.close()
            raise
        return cls(process, reader, writer, log)

    @property
    def pid(self) -> int:
        """Process id, also that of its group and session."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once it has been reaped."""
        return self._process.returncode is None

    async def send(self, command: worker_pb2.WorkerCommand) -> None:
        """Hand over a command. Silent if the worker is gone: `receive` will tell."""
        try:
            self._writer.write(write_frame(command.SerializeToString()))
            await self._writer.drain()
        except ConnectionError:
            pass

    async def receive_within(self, seconds: float) -> worker_pb2.WorkerEvent | None:
        """As `receive`. Raises TimeoutError if nothing comes for so long; the worker is then no longer of use."""
        receiving = asyncio.create_task(self.receive())
        try:
            for _ in range(_LOOKS):
                if (await asyncio.wait([receiving], timeout=seconds / _LOOKS))[0]:
                    return receiving.result()
        finally:
            receiving.cancel()
        raise TimeoutError

    async def receive(self) -> worker_pb2.WorkerEvent | None:
        """The next event; None when the worker is gone. A worker that talks nonsense is killed."""
        try:
            frame = await read_frame(self._reader)
            return None if frame is None else worker_pb2.WorkerEvent.FromString(frame)
        except (FrameTooLarge, ValueError):
            self.kill()
            return None

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

    async def _reaped(self) -> int:
        try:
            return await asyncio.wait_for(self._process.wait(), _REAP_SECONDS)
        except TimeoutError:
            logger.error("process %d was killed and has not ended; it is given up", self.pid)
            return -signal.SIGKILL

    @staticmethod
    def describe(status: int) -> str:
        """An exit status in words."""
        if status == -signal.SIGKILL:
            return "killed by signal 9, as the kernel does when memory runs out"
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"

    def log_tail(self) -> str:
        """The last lines that it wrote to its standard streams."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)


def _without_secrets() -> dict[str, str]:
    """This process' environment for a worker, which has no business with the database."""
    return {name: value for name, value in os.environ.items() if name != DATABASE_URL}


async def _exec(
    connection: socket.socket, artefacts: Path, output: IO[bytes], threads: int, environment: Mapping[str, str],
    heartbeat: float,
) -> asyncio.subprocess.Process:  # fmt: skip
    # The worker finds modules where this process found them.
    safe_path = ["-P"] if sys.flags.safe_path else []
    # A session of its own: Ctrl-C at the terminal is the server's to handle, and the group can be killed.
    return await asyncio.create_subprocess_exec(
        sys.executable, *safe_path, "-m", "gephyra.service.worker",
        "--fd", str(connection.fileno()), "--artefacts", str(artefacts), "--threads", str(threads),
        "--parent", str(os.getpid()), "--heartbeat", str(heartbeat),
        stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[connection.fileno()],
        start_new_session=True, env={**_without_secrets(), **environment},
    )  # fmt: skip
