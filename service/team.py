"""Several workers that train one sampler, as one worker: what an attempt knows and follows.

The first trains, and what it tells is what the team tells; the others assist. The death of one is that of all: the
others are killed, and the next attempt goes on from the first's last checkpoint.
"""

import asyncio
import random
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gephyra.protos import worker_pb2

from .executor import Executor, Exit, NoPlace, Resources, Worker, WorkerSpec
from .exits import GROUP_LOST

__all__ = ["Team", "start_team"]

# What an assistant may say for all of them. Everything else that it sends is for the team.
_SAID_BY_ANY = frozenset({"failed", "log"})
# Once one is gone, the others have so long to say why, before they are killed: what ends a run may well reach the
# server later than the end of a process that it ended.
_LAST_WORDS_SECONDS = 1.0


async def start_team(
    executor: Executor, turn: asyncio.Lock, spec: WorkerSpec, size: int, folder: Path, patience: float = 60.0
) -> Worker:
    """Start `size` workers that train together; one is no team. Cancelled, it leaves none behind.

    Args:
        executor: Starts them.
        turn: Whose turn it is to take places for a team: two that hold half of their places each would wait for ever.
        spec: Of each. All but the first have a log of their own beside it.
        size: How many.
        folder: Of the attempt; they find each other there.
        patience: Seconds that a worker waits for the others; then all places are given back, and asked for again a
            little later. The other half may be held by a team of another server.

    Raises:
        NoPlace: There will never be room for all of them.
        OSError: As from the executor.
    """
    if size == 1:
        return await executor.start(spec)
    needs = sum([spec.needs] * size, Resources(0, 0))
    if not (capacity := await executor.capacity()).holds(needs):
        raise NoPlace(f"{size} workers together need {needs}, and all there is are {capacity}")
    specs = [spec, *(replace(spec, log=spec.log.with_suffix(f".{rank}.log")) for rank in range(1, size))]
    while True:
        async with turn:
            workers = await _start_all(executor, specs, patience)
        if workers:
            return Team(workers, folder / f"group-{secrets.token_hex(8)}.part")
        await asyncio.sleep(random.uniform(0.0, patience))


async def _start_all(executor: Executor, specs: Sequence[WorkerSpec], patience: float) -> list[Worker]:
    """All of these workers; none where some have waited for others for too long."""
    starting = [asyncio.create_task(executor.start(each)) for each in specs]
    workers: list[Worker] = []
    try:
        await asyncio.wait(starting, return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait(starting, timeout=patience)
        found = [each.result() for each in starting if each in done]
        workers = found if len(found) == len(specs) else []
        return workers
    finally:
        if not workers:
            for each in starting:
                each.cancel()
            ended = await asyncio.gather(*starting, return_exceptions=True)
            await asyncio.gather(*(each.close() for each in ended if isinstance(each, Worker)))


class Team(Worker):
    """Workers that train together.

    Args:
        workers: At least two; the first is the one that trains.
        store: File through which they find each other, on a disk that all of them see.
    """

    def __init__(self, workers: Sequence[Worker], store: Path) -> None:
        self._workers, self._store = list(workers), store
        self._events: asyncio.Queue[worker_pb2.WorkerEvent | None] = asyncio.Queue()
        self._ready: set[int] = set()
        self._beating: set[int] = set()
        # In the order in which they ended by themselves.
        self._fallen: list[int] = []
        self._killed = self._ending = False
        self._listeners = [asyncio.create_task(self._listen(rank)) for rank in range(len(self._workers))]

    @property
    def alive(self) -> bool:
        return all(worker.alive for worker in self._workers)

    async def send(self, command: worker_pb2.WorkerCommand) -> None:
        if command.WhichOneof("command") != "train":
            # The first tells the others, at a step where all of them can stop.
            await self._workers[0].send(command)
            return
        for rank, worker in enumerate(self._workers):
            own = worker_pb2.WorkerCommand()
            own.CopyFrom(command)
            own.train.group.CopyFrom(
                worker_pb2.WorkerCommand.Group(rank=rank, size=len(self._workers), store=str(self._store))
            )
            await worker.send(own)

    async def receive(self) -> worker_pb2.WorkerEvent | None:
        event = await self._events.get()
        if event is None:
            self._events.put_nowait(None)
        return event

    def terminate(self) -> None:
        for worker in self._workers:
            worker.terminate()

    def kill(self) -> None:
        self._killed = True
        for worker in self._workers:
            worker.kill()

    async def close(self, seconds: float = 0.0) -> Exit:
        for listener in self._listeners:
            listener.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)
        ends = await asyncio.gather(*(worker.close(seconds) for worker in self._workers))
        return ends[self._culprit(ends)]

    def log_tail(self) -> str:
        return self._workers[self._fallen[0] if self._fallen else 0].log_tail()

    def _culprit(self, ends: Sequence[Exit]) -> int:
        """Whose end explains that of the team."""
        # One that only noticed that another is gone explains least.
        ranked = sorted(self._fallen, key=lambda rank: (not ends[rank].lost, ends[rank].status == GROUP_LOST))
        return ranked[0] if ranked else 0

    async def _listen(self, rank: int) -> None:
        while (event := await self._workers[rank].receive()) is not None:
            self._take(rank, event)
        if not self._killed:
            self._fallen.append(rank)
        if self._ending:
            return
        self._ending = True
        others = [each for each in self._listeners if each is not asyncio.current_task()]
        await asyncio.wait(others, timeout=_LAST_WORDS_SECONDS)
        self.kill()
        self._events.put_nowait(None)

    def _take(self, rank: int, event: worker_pb2.WorkerEvent) -> None:
        match event.WhichOneof("event"):
            case "ready":
                self._when_all(self._ready, rank, event)
            case "heartbeat":
                self._when_all(self._beating, rank, event)
            case kind if rank == 0 or kind in _SAID_BY_ANY:
                self._events.put_nowait(event)

    def _when_all(self, heard: set[int], rank: int, event: worker_pb2.WorkerEvent) -> None:
        """Pass an event on once every worker has sent one: a team with a silent member is silent."""
        heard.add(rank)
        if len(heard) == len(self._workers):
            heard.clear()
            self._events.put_nowait(event)
