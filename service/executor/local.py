"""Workers beside the server, on its own machine."""

import os
from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import DecodeError

from gephyra.protos import worker_pb2

from .base import Executor, Exit, NoPlace, Resources, Worker, WorkerSpec
from .process import WorkerProcess
from .room import Room

__all__ = ["LocalExecutor", "LocalWorker", "log_tail"]

_TAIL_BYTES = 4096


class LocalWorker(Worker):
    """A child of this process.

    Args:
        ended: Called once, when it was closed.

    Attributes:
        pid: Its process id, also that of its group.
    """

    def __init__(self, process: WorkerProcess, log: Path, ended: Callable[["LocalWorker"], None]) -> None:
        self.pid = process.pid
        self._process = process
        self._log = log
        self._ended = ended
        self._closed = False

    @property
    def alive(self) -> bool:
        return self._process.alive

    async def send(self, command: worker_pb2.WorkerCommand) -> None:
        await self._process.send(command.SerializeToString())

    async def receive(self) -> worker_pb2.WorkerEvent | None:
        message = await self._process.receive()
        try:
            return None if message is None else worker_pb2.WorkerEvent.FromString(message)
        except DecodeError:
            self.kill()
            return None

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    async def close(self, seconds: float = 0.0) -> Exit:
        try:
            return Exit(await self._process.close(seconds))
        finally:
            if not self._closed:
                self._closed = True
                self._ended(self)

    def log_tail(self) -> str:
        return log_tail(self._log)


class LocalExecutor(Executor):
    """Starts workers as children of this process.

    Args:
        capacity: Of all of them together; the default leaves it to those who ask.
    """

    def __init__(self, capacity: Resources | None = None) -> None:
        self._room = Room(capacity or Resources())
        self._workers: dict[LocalWorker, Resources] = {}
        self._closed = False

    async def start(self, spec: WorkerSpec) -> LocalWorker:
        await self._room.take(spec.needs)
        try:
            if self._closed:
                raise NoPlace("the executor is closed")
            worker = LocalWorker(await WorkerProcess.start(spec), spec.log, self._forget)
        except BaseException:
            self._room.give(spec.needs)
            raise
        self._workers[worker] = spec.needs
        return worker

    async def capacity(self) -> Resources:
        return self._room.capacity

    @property
    def in_use(self) -> Resources:
        return self._room.taken

    async def close(self) -> None:
        self._closed = True
        for worker in list(self._workers):
            await worker.close()

    def _forget(self, worker: LocalWorker) -> None:
        self._room.give(self._workers.pop(worker))


def log_tail(log: Path) -> str:
    """The last lines of a file; nothing if it cannot be read. Blocking."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""
