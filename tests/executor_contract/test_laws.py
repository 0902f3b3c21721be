"""What every executor owes the server, whatever it starts workers on."""

import asyncio
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from gephyra.protos import training_service_pb2, worker_pb2
from gephyra.service.executor import Exit, NoPlace, Resources, Worker, receive_within
from gephyra.service.tensors import from_tensor, to_tensor
from tests.executor_contract.conftest import CAPACITY, LEASE, Bench, kind_of_next, until
from tests.support.server import TINY

_Command = worker_pb2.WorkerCommand
LONG = training_service_pb2.TrainingConfig()
LONG.CopyFrom(TINY)
LONG.iterations = 10**6
KILLED = Exit(-signal.SIGKILL)


def training(bench: Bench, config: training_service_pb2.TrainingConfig) -> _Command:
    work = bench.folder / "work-1"
    work.mkdir()
    train = _Command.Train(
        target_path=bench.target, config=config, checkpoint_folder=str(work), sampler_path=str(work / "sampler"),
        threads=1,
    )  # fmt: skip
    return _Command(id=1, train=train)


async def started(bench: Bench) -> Worker:
    """A worker that gives signs of life, and imports its libraries."""
    worker = await bench.start()
    assert await kind_of_next(worker, "heartbeat") is not None
    return worker


async def at_work(bench: Bench) -> Worker:
    """A worker in the middle of a training job."""
    worker = await bench.start()
    await worker.send(training(bench, LONG))
    assert await kind_of_next(worker, "metrics") is not None
    return worker


async def test_a_job_is_done_its_events_arrive_in_order_and_its_log_is_whole(bench: Bench) -> None:
    """A job that tells of every import on its standard error."""
    worker = await bench.start(environment={**bench.spec.environment, "PYTHONPROFILEIMPORTTIME": "1"})
    await worker.send(training(bench, TINY))
    steps, kinds = list[int](), list[str]()
    while not kinds or kinds[-1] not in ("trained", "failed"):
        event = await kind_of_next(worker, "ready", "metrics", "trained", "failed")
        assert event is not None
        kinds.append(event.WhichOneof("event") or "")
        if kinds[-1] == "metrics":
            steps.append(event.metrics.step)
    assert (kinds[0], set(kinds[1:-1]), kinds[-1]) == ("ready", {"metrics"}, "trained")
    assert steps == sorted(steps)
    assert (bench.folder / "work-1" / "sampler").stat().st_size > 0
    # The end of its connection is the order to end.
    end = await worker.close(seconds=10.0)
    assert (end, worker.alive, await kind_of_next(worker, "ready")) == (Exit(3), False, None)
    assert await worker.close() == end
    log = (bench.folder / "log").read_text()
    assert len(re.findall(r"\| +torch$", log, flags=re.MULTILINE)) == 1
    tail = worker.log_tail().splitlines()
    assert len(tail) > 5
    assert tail[1:] == log.splitlines()[-len(tail) + 1 :]


@pytest.mark.slow
async def test_commands_are_answered_one_by_one(bench: Bench) -> None:
    """A failing one does no harm to the next, messages of MiB arrive whole, a wait that was given up loses nothing."""
    worker = await started(bench)
    await worker.send(_Command(id=1, check=_Command.Check(target_path=str(bench.folder / "nothing"))))
    await _give_up(worker)
    failed = await kind_of_next(worker, "failed", "checked")
    assert failed is not None
    assert (failed.id, failed.WhichOneof("event")) == (1, "failed")
    x = np.random.default_rng(0).standard_normal((200_000, 2))
    for number in range(2, 6):
        evaluate = _Command.Evaluate(target_path=bench.target, x=to_tensor(x + number))
        await worker.send(_Command(id=number, evaluate=evaluate))
    await _give_up(worker)
    for number in range(2, 6):
        event = await kind_of_next(worker, "evaluated", "failed")
        assert event is not None
        assert event.id == number
        log_density = from_tensor(event.evaluated.log_density, "log_density")
        np.testing.assert_allclose(log_density, -0.5 * ((x + number) ** 2).sum(1) - np.log(2 * np.pi), rtol=1e-12)
        assert event.ByteSize() > 4 << 20


async def _give_up(worker: Worker) -> None:
    """As where a caller of the pool goes away: the worker is stopped, and its answer is awaited after all."""
    for _ in range(3):
        waiting = asyncio.create_task(worker.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_places_are_given_in_order_and_none_to_who_gave_up(bench: Bench) -> None:
    first, second = await asyncio.gather(bench.start(), bench.start())
    waiting = [asyncio.create_task(bench.start()) for _ in range(3)]
    await asyncio.sleep(0.5)
    assert not any(each.done() for each in waiting)
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    assert bench.executor.in_use == CAPACITY
    await first.close()
    third = await waiting[1]
    await asyncio.sleep(0.5)
    assert not waiting[2].done()
    await second.close()
    fourth = await waiting[2]
    assert bench.executor.in_use == CAPACITY
    await asyncio.gather(third.close(), fourth.close())


async def test_cancelled_at_its_imports(bench: Bench) -> None:
    worker = await bench.start()
    await bench.process()
    worker.kill()
    assert await kind_of_next(worker, "ready") is None
    assert await worker.close() == KILLED


@pytest.mark.slow
async def test_cancelled_at_work_by_a_message(bench: Bench) -> None:
    worker = await at_work(bench)
    await worker.send(_Command(id=1, stop=_Command.Stop(command_id=1)))
    assert await kind_of_next(worker, "stopped", "trained", "failed") == worker_pb2.WorkerEvent(
        id=1, stopped=worker_pb2.WorkerEvent.Stopped()
    )
    assert await worker.close(seconds=10.0) == Exit(3)


@pytest.mark.slow
async def test_cancelled_at_work_by_a_signal(bench: Bench) -> None:
    worker = await at_work(bench)
    worker.terminate()
    assert await kind_of_next(worker, "stopped", "trained", "failed") is None
    end = await worker.close(seconds=10.0)
    assert (end, str(end)) == (Exit(-signal.SIGTERM), "killed by signal 15")


async def test_a_close_without_patience_kills(bench: Bench) -> None:
    worker = await started(bench)
    process = await bench.process()
    process.suspend()
    await until(lambda: process.status() == psutil.STATUS_STOPPED)
    assert await worker.close() == KILLED
    assert bench.processes() == []


async def test_a_worker_that_is_killed_is_told(bench: Bench) -> None:
    worker = await started(bench)
    (await bench.process()).kill()
    assert await kind_of_next(worker, "ready") is None
    assert await worker.receive() is None
    await worker.send(_Command(id=2))
    assert await worker.close(seconds=10.0) == KILLED


async def test_a_worker_that_is_stopped_is_silent_and_can_be_ended(bench: Bench) -> None:
    worker = await started(bench)
    (await bench.process()).suspend()
    with pytest.raises(TimeoutError):
        await _heard_for_ever(worker)
    worker.kill()
    assert await worker.close(seconds=5.0) == KILLED
    assert bench.processes() == []


async def _heard_for_ever(worker: Worker) -> None:
    while await receive_within(worker, LEASE) is not None:
        pass


async def test_no_more_run_than_there_is_room_for(bench: Bench) -> None:
    assert await bench.executor.capacity() == CAPACITY
    most = 0

    def look() -> bool:
        nonlocal most
        assert CAPACITY.holds(bench.executor.in_use)
        most = max(most, len(bench.processes()))
        return most == 2

    async def live() -> None:
        worker = await bench.start()
        # The first two wait for each other; then there is a moment for a third one to come too early.
        await until(look)
        await asyncio.sleep(0.2)
        look()
        await worker.close()

    await asyncio.gather(*(live() for _ in range(4)))
    assert most == 2


async def test_a_log_that_cannot_be_written_is_an_error(bench: Bench) -> None:
    with pytest.raises(OSError, match="No such file or directory"):
        await bench.start(log=Path(bench.folder / "nowhere" / "log"))
    assert bench.executor.in_use == Resources(0, 0)


async def test_closing_ends_all_and_begins_none(bench: Bench) -> None:
    await asyncio.gather(bench.start(), bench.start())
    await until(lambda: len(bench.processes()) == 2)
    await bench.executor.close()
    await until(lambda: bench.processes() == [], seconds=10)
    with pytest.raises(NoPlace):
        await bench.start()
    assert bench.executor.in_use == replace(CAPACITY, cpus=0)
