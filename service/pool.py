"""Warm workers for checking, evaluating, drawing and estimating: a bounded number, reused, replaced when they die."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from gephyra.protos import worker_pb2

from .errors import DeadlineExceeded, Internal, Reason, ServiceError, Unavailable, stopping
from .executor import Executor, Exit, LocalExecutor, Worker, WorkerSpec, serving_environment
from .tracing import CURRENT, NoTracing, Tracing, record_work

__all__ = ["Pool"]

_OnBlock: TypeAlias = Callable[[worker_pb2.WorkerEvent.Block], None]

_STOP_SECONDS = 5.0
_FINAL = frozenset({
    "failed", "evaluated", "report", "examined", "checked", "done", "stopped", "log_prob", "likelihood",
})  # fmt: skip


class _Idle(NamedTuple):
    worker: Worker
    key: str
    """What it worked on last."""


class Pool:
    """At most `size` serving workers, started when first needed.

    Attributes:
        size: As given.
        busy: How many of them are at work.
    """

    def __init__(
        self, size: int, artefacts: Path, logs: Path, tracing: Tracing | None = None, executor: Executor | None = None
    ) -> None:
        self.size = size
        self.busy = 0
        self._slots = asyncio.Semaphore(size)
        self._spec = WorkerSpec(artefacts, logs / "serving.log", serving_environment())
        self._executor = executor or LocalExecutor()
        self._tracing = tracing or NoTracing()
        self._idle: list[_Idle] = []
        self._closed = False
        self._next_id = 0

    async def ask(
        self, command: worker_pb2.WorkerCommand, seconds: float, key: str = "",
        on_block: _OnBlock | None = None,
    ) -> worker_pb2.WorkerEvent:  # fmt: skip
        """Have a worker do `command`; returns its last event, blocks before that go to `on_block`.

        Args:
            command: Gets its id here.
            seconds: Time limit of the work itself, waiting for a free worker left out.
            key: Content that the command needs; a worker that had it last is preferred.
            on_block: Called with every block of draws.

        Raises:
            DeadlineExceeded: The time limit was reached (WORKER_TIMEOUT).
            Unavailable: The worker died (WORKER_DIED), or the server is stopping.
        """
        async with self._slot():
            worker = await self._take(key)
            self._next_id += 1
            command.id, command.traceparent = self._next_id, CURRENT.get()
            try:
                async with asyncio.timeout(seconds):
                    event = await _converse(worker, command, on_block)
            except TimeoutError:
                await worker.close()
                raise DeadlineExceeded(
                    Reason.WORKER_TIMEOUT,
                    f"the work took longer than the server's limit of {seconds:g} s and was stopped",
                ) from None
            except asyncio.CancelledError:
                await self._stop(worker, key, command.id)
                raise
            except BaseException:
                await worker.close()
                raise
            record_work(self._tracing, command, event)
            await self._give_back(worker, key)
            return event

    async def close(self) -> None:
        """End every idle worker, and those at work when they are given back."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(each.worker.close(seconds=1.0) for each in idle))

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        async with self._slots:
            self.busy += 1
            try:
                yield
            finally:
                self.busy -= 1

    async def _take(self, key: str) -> Worker:
        if self._closed:
            raise stopping()
        for each in sorted(self._idle, key=lambda each: each.key != key):
            self._idle.remove(each)
            if each.worker.alive:
                return each.worker
            await each.worker.close()
        return await self._executor.start(self._spec)

    async def _give_back(self, worker: Worker, key: str) -> None:
        if self._closed:
            await worker.close()
        else:
            self._idle.append(_Idle(worker, key))

    async def _stop(self, worker: Worker, key: str, command_id: int) -> None:
        """The caller went away: end the work within a block, and keep the worker if it answers in time."""
        stop = worker_pb2.WorkerCommand(id=command_id, stop=worker_pb2.WorkerCommand.Stop(command_id=command_id))
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await worker.send(stop)
                while (event := await worker.receive()) is not None:
                    if event.id == command_id and event.WhichOneof("event") not in ("block", "log"):
                        return await self._give_back(worker, key)
        except (TimeoutError, asyncio.CancelledError):
            pass
        await worker.close()


async def _converse(
    worker: Worker,
    command: worker_pb2.WorkerCommand,
    on_block: Callable[[worker_pb2.WorkerEvent.Block], None] | None,
) -> worker_pb2.WorkerEvent:
    await worker.send(command)
    while (event := await worker.receive()) is not None:
        if event.id != command.id:
            continue
        match event.WhichOneof("event"):
            case "block" if on_block is not None:
                on_block(event.block)
            case "log" | "block":
                pass
            case kind if kind in _FINAL:
                return event
            case _:
                raise Internal(Reason.INTERNAL, "a worker sent an event that does not belong to its command")
    raise _death(await worker.close(seconds=1.0))


def _death(end: Exit) -> ServiceError:
    return Unavailable(
        Reason.WORKER_DIED, f"the process at work died ({end}); the same request may succeed if it is repeated"
    )
