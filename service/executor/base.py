"""What an executor owes the server: it starts workers somewhere, and tells how they end. Truth stays in the database.

An executor places worker processes, carries messages to and from them, and kills them. It knows nothing of jobs: queue,
states, events and the right to write are the store's. Every executor passes the same tests, `tests/executor_contract`.
"""

import asyncio
import math
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gephyra.protos import worker_pb2

__all__ = ["Executor", "Exit", "NoPlace", "Resources", "Worker", "WorkerSpec", "receive_within"]

# A silence is looked at so often: if this process itself was stopped for long, what came meanwhile is read first.
_LOOKS = 4


class NoPlace(Exception):
    """The executor will never have room for such a worker."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Processors and GPUs; infinite where nobody counts them."""

    cpus: float = math.inf
    gpus: float = math.inf

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.cpus + other.cpus, self.gpus + other.gpus)

    def __sub__(self, other: "Resources") -> "Resources":
        return Resources(self.cpus - other.cpus, self.gpus - other.gpus)

    def holds(self, other: "Resources") -> bool:
        """Whether `other` is no more of anything."""
        return other.cpus <= self.cpus and other.gpus <= self.gpus


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """How one worker is to run."""

    artefacts: Path
    """Where it finds stored content. This folder and that of `log` must be the same on every machine."""
    log: Path
    """What it writes to its standard streams is appended there."""
    environment: Mapping[str, str]
    """Added to that of the process which starts it."""
    threads: int = 1
    """Intra-op threads."""
    heartbeat: float = 0.0
    """Seconds between two signs of life; 0: none."""
    cpus: float = 1
    gpus: float = 0

    @property
    def needs(self) -> Resources:
        """What it takes from the executor's capacity while it lives."""
        return Resources(self.cpus, self.gpus)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended; in words by `str`."""

    status: int
    """Exit status of the process; negative: the signal that killed it."""
    lost: str = ""
    """Why it is gone for no fault of its own, as with its machine; then the status says nothing."""

    def __str__(self) -> str:
        if self.lost:
            return self.lost
        if self.status == -signal.SIGKILL:
            return "killed by signal 9, as the kernel does when memory runs out"
        return f"killed by signal {-self.status}" if self.status < 0 else f"exit status {self.status}"


class Worker(ABC):
    """A running worker. Not for use by two tasks at once, except `terminate` and `kill`."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """False once it is known to have ended."""

    @abstractmethod
    async def send(self, command: worker_pb2.WorkerCommand) -> None:
        """Hand over a command. Silent if the worker is gone: `receive` will tell."""

    @abstractmethod
    async def receive(self) -> worker_pb2.WorkerEvent | None:
        """The next event; None when the worker is gone. One that talks nonsense is killed.

        Cancelled, it has taken none: the next call gives what that one would have.
        """

    @abstractmethod
    def terminate(self) -> None:
        """SIGTERM to its process group, soon."""

    @abstractmethod
    def kill(self) -> None:
        """SIGKILL to its process group, soon."""

    @abstractmethod
    async def close(self, seconds: float = 0.0) -> Exit:
        """Send nothing more, wait up to `seconds` for it to end, then kill it. May be called again."""

    @abstractmethod
    def log_tail(self) -> str:
        """The last lines that it wrote to its standard streams. Blocking."""


class Executor(ABC):
    """Starts workers, on this machine or others."""

    @abstractmethod
    async def start(self, spec: WorkerSpec) -> Worker:
        """Start a worker, once there is room for it; first come, first served. Cancelled, it leaves none behind.

        Raises:
            NoPlace: There will never be room.
            OSError: The log cannot be written, or no process be made.
        """

    @abstractmethod
    async def capacity(self) -> Resources:
        """What all its workers together may take."""

    @property
    @abstractmethod
    def in_use(self) -> Resources:
        """What those take that it started and that were not closed; never more than its capacity."""

    @abstractmethod
    async def close(self) -> None:
        """End every worker that is left, and whatever else it holds. Nothing is started after that."""


async def receive_within(worker: Worker, seconds: float) -> worker_pb2.WorkerEvent | None:
    """As `worker.receive`. Raises TimeoutError if nothing comes for so long."""
    receiving = asyncio.create_task(worker.receive())
    try:
        for _ in range(_LOOKS):
            if (await asyncio.wait([receiving], timeout=seconds / _LOOKS))[0]:
                return receiving.result()
    finally:
        receiving.cancel()
    raise TimeoutError
