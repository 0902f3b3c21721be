"""Draws that several workers make at once come in order, whatever the workers do, and never too many ahead."""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gephyra.protos import sampler_service_pb2, training_service_pb2, worker_pb2
from gephyra.service.ahead import Ahead, Crew, Turn
from tests.support.server import TINY, ServerProcess, gaussian, register, train

BLOCK = 10


class Workers:
    """`size` workers that take `seconds` a block, on a clock of their own; each ends its turn when it likes."""

    def __init__(self, size: int, seconds: float, ends: Iterator[int]) -> None:
        self.crew = Crew(size, lambda: size - self.busy, self.ask)
        self.busy = self.most = self.held = self.stopped = 0
        self.turns = list[Turn]()
        self._seconds, self._ends, self._slots = seconds, ends, asyncio.Semaphore(size)

    async def ask(self, turn: Turn) -> list[worker_pb2.WorkerEvent.Block]:
        self.turns.append(turn)
        blocks, start, left = list[worker_pb2.WorkerEvent.Block](), turn.start, 1 if turn.short else next(self._ends)
        async with self._slots:
            self.busy += 1
            self.most = max(self.most, self.busy)
            try:
                while start < turn.stop and left:
                    await asyncio.sleep(self._seconds)
                    stop = min((start // BLOCK + 1) * BLOCK, turn.stop)
                    blocks.append(worker_pb2.WorkerEvent.Block(start_index=start, count=stop - start))
                    start, left = stop, left - 1
            except asyncio.CancelledError:
                self.stopped += 1
                raise
            finally:
                self.busy -= 1
        return blocks


def _on_a_clock_of_its_own(work: Coroutine[Any, Any, None]) -> None:
    """Sleeping takes no time: the loop's clock jumps to what comes next."""
    loop = asyncio.new_event_loop()
    now = 0.0
    select = loop._selector.select  # type: ignore[attr-defined]

    def jump(timeout: float | None) -> object:
        nonlocal now
        now += timeout or 0.0
        return select(0)

    loop._selector.select = jump  # type: ignore[attr-defined]
    loop.time = lambda: now  # type: ignore[method-assign]
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


@settings(deadline=None)
@given(
    size=st.integers(1, 4), start=st.integers(0, 25), count=st.integers(1, 600),
    seconds=st.sampled_from([0.001, 0.1, 3]),
    ends=st.lists(st.integers(1, 50), min_size=1), most=st.integers(1, 200), known=st.sets(st.integers(0, 70)),
)  # fmt: skip
def test_every_draw_comes_once_and_in_order(
    size: int, start: int, count: int, seconds: float, ends: list[int], most: int, known: set[int]
) -> None:
    """Also where some blocks are known already, and turns end early."""

    async def run() -> None:
        workers = Workers(size, seconds, (ends[i % len(ends)] for i in range(10**6)))
        stop, at = start + count, start
        ahead = Ahead(workers.crew, stop, most, lambda index: index // BLOCK in known)
        while at < stop:
            if not ahead.begun(at) and at // BLOCK in known:
                at = min((at // BLOCK + 1) * BLOCK, stop)
                continue
            for block in await ahead.next(at):
                assert block.start_index == at
                at += block.count
            assert len(ahead._parts) <= 2 * size
        assert at == stop
        assert workers.most <= size
        # Turns among several begin with a block, and are no longer than said.
        several = [turn for turn in workers.turns[2:] if turn.stop < stop and ahead._span]
        assert all(turn.stop - turn.start <= max(most, BLOCK) for turn in several)
        await ahead.close()

    _on_a_clock_of_its_own(run())


@pytest.mark.parametrize(("seconds", "expected"), [(0.001, 1), (0.1, 3)])
def test_several_work_only_where_it_takes_long(seconds: float, expected: int) -> None:
    async def run() -> None:
        workers, at = Workers(3, seconds, iter([20] * 1000)), 0
        ahead = Ahead(workers.crew, 40 * BLOCK, 1000, lambda index: False)
        while at < 40 * BLOCK:
            at += sum(block.count for block in await ahead.next(at))
        assert workers.most == expected
        # Three at once: two blocks before that was known, and a third of the other 38, rounded up to whole turns.
        taken = asyncio.get_running_loop().time()
        assert taken / seconds < (2 + 38 if expected == 1 else 2 + 38 / 3 + 2) + 1e-6

    _on_a_clock_of_its_own(run())


def test_a_stream_that_is_given_up_stops_all_its_workers() -> None:
    async def run() -> None:
        workers = Workers(3, 0.1, iter([20] * 1000))
        ahead, at = Ahead(workers.crew, 10**6, 1000, lambda index: False), 0
        for _ in range(3):
            at += sum(block.count for block in await ahead.next(at))
        waiting = asyncio.ensure_future(ahead.next(at))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert workers.busy == 3
        await ahead.close()
        assert (workers.busy, workers.stopped, len(ahead._tasks)) == (0, 3, 0)

    _on_a_clock_of_its_own(run())


def test_an_error_is_raised_where_its_draws_would_come() -> None:
    async def run() -> None:
        workers = Workers(2, 0.1, iter([20] * 1000))

        async def ask(turn: Turn) -> list[worker_pb2.WorkerEvent.Block]:
            if turn.start >= 5 * BLOCK:
                raise OSError("lost")
            turn = turn._replace(stop=min(turn.stop, 5 * BLOCK))
            return await workers.ask(turn)

        ahead, at = Ahead(Crew(2, workers.crew.idle, ask), 100 * BLOCK, 1000, lambda index: False), 0
        while at < 5 * BLOCK:
            at += sum(block.count for block in await ahead.next(at))
        with pytest.raises(OSError, match="lost"):
            await ahead.next(at)
        await ahead.close()

    _on_a_clock_of_its_own(run())


@pytest.mark.slow
def test_the_bytes_of_a_stream_do_not_depend_on_how_many_make_it(tmp_path: Path) -> None:
    """Through the service: one, two and three workers, from an index inside a block (P7)."""
    config = training_service_pb2.TrainingConfig()
    config.CopyFrom(TINY)
    config.steps, config.width = 128, 64
    found = set()
    with ServerProcess(tmp_path, ["--draw-cache", "0"]) as server:
        sampler = train(server.stubs, register(server.stubs, gaussian(3)).name, config).name
    for workers in (1, 2, 3):
        with ServerProcess(tmp_path, ["--draw-cache", "0", "--draw-workers", str(workers)]) as server:
            request = sampler_service_pb2.DrawSamplesRequest(sampler=sampler, start_index=300, count=6000, seed=5)
            *chunks, last = server.stubs.sampling.DrawSamples(request, timeout=100)
            found.add((sum(each.chunk.count for each in chunks), last.trailer.count, last.trailer.sha256))
            assert len(server.workers()) == workers
    assert len(found) == 1
    assert next(iter(found))[:2] == (6000, 6000)
