"""Turns of one stream of draws on workers: one after the other, or, where that would take long, several at once.

Which turns there are changes no draw: blocks are always evaluated whole, whoever asks for which part of them.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from gephyra.protos import worker_pb2

__all__ = ["Ahead", "Crew", "Turn"]

_Blocks: TypeAlias = list[worker_pb2.WorkerEvent.Block]

# What one worker would do in less stays with it: another may have to be started, and to load the sampler.
_WORTH_SECONDS = 0.5
# Of one turn among several: short, so that they end together and a cancelled stream is rid of them soon.
_TURN_SECONDS = 0.25
# Turns begun for each worker: one that begins slowly does not make the others wait.
_TURNS_EACH = 2


class Turn(NamedTuple):
    """Draws [start, stop), or the first of them: a worker ends its turn when it took long."""

    start: int
    stop: int
    short: bool
    """Only one block, to see how long that takes."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Who makes the draws of a stream."""

    size: int
    """How many workers there are."""
    idle: Callable[[], int]
    """How many of them have nothing to do now."""
    ask: Callable[[Turn], Awaitable[_Blocks]]
    """Has one of them make a turn."""


class _Part(NamedTuple):
    turn: Turn
    task: "asyncio.Task[tuple[_Blocks, float]]"
    """Its blocks, and how many seconds they took."""


class Ahead:
    """What comes next in a stream, and what was begun of what comes after that: at most two turns a worker.

    Args:
        crew: Who makes the draws.
        stop: Index after the last draw.
        most: Draws that a turn takes at most, at least 1.
        known: Whether the draw of an index needs no worker.
    """

    def __init__(self, crew: Crew, stop: int, most: int, known: Callable[[int], bool]) -> None:
        self._crew, self._stop, self._most, self._known = crew, stop, most, known
        self._parts: deque[_Part] = deque()
        self._tasks: set[asyncio.Task[tuple[_Blocks, float]]] = set()
        self._turns = 0
        # Of a turn among several; 0: there is one at a time.
        self._span = 0

    def begun(self, start: int) -> bool:
        """Whether the draw of that index, the next one, is being made."""
        return bool(self._parts) and self._parts[0].turn.start == start

    async def next(self, start: int) -> _Blocks:
        """Blocks from the draw `start` on, the next one; one at least. Raises what the crew does."""
        idle = self._crew.idle()
        while self._parts and self._parts[0].turn.start < start:
            # What became known meanwhile was not waited for.
            self._parts.popleft().task.cancel()
        if not self.begun(start):
            stop = self._parts[0].turn.start if self._parts else self._end(start)
            self._parts.appendleft(self._begin(start, stop))
            idle -= 1
        while self._span and idle > 0 and len(self._parts) < _TURNS_EACH * self._crew.size:
            after = self._parts[-1].turn.stop
            if after >= self._stop or self._known(after):
                break
            self._parts.append(self._begin(after, self._end(after)))
            idle -= 1
        blocks, seconds = await self._parts[0].task
        self._learn(self._parts.popleft().turn, blocks, seconds)
        return blocks

    async def close(self) -> None:
        """Stop all that was begun."""
        self._parts.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _end(self, start: int) -> int:
        return min(start + self._span, self._stop) if self._span else self._stop

    def _begin(self, start: int, stop: int) -> _Part:
        # The first block may come from a worker that is just being started, the second tells how long one takes.
        turn = Turn(start, stop, short=self._crew.size > 1 and self._turns < 2)
        self._turns += 1
        task = asyncio.create_task(self._make(turn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _Part(turn, task)

    async def _make(self, turn: Turn) -> tuple[_Blocks, float]:
        started = asyncio.get_running_loop().time()
        blocks = await self._crew.ask(turn)
        return blocks, asyncio.get_running_loop().time() - started

    def _learn(self, turn: Turn, blocks: _Blocks, seconds: float) -> None:
        if not turn.short or self._turns != 2 or not blocks:
            return
        block = blocks[0].count
        left = -(-(self._stop - turn.start - block) // block)
        if left * seconds >= _WORTH_SECONDS:
            fitting = min(self._most // block, int(_TURN_SECONDS / seconds), -(-left // self._crew.size))
            self._span = max(fitting, 1) * block
