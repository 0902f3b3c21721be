"""Every executor, and what the laws need to know of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from gephyra.protos import worker_pb2
from gephyra.service.artefacts import Artefacts
from gephyra.service.executor import Executor, LocalExecutor, Resources, Worker, WorkerSpec, serving_environment
from tests.support.ray_cluster import TwoNodes
from tests.support.server import gaussian

LEASE = 3.0
# Of both executors in these tests.
CAPACITY = Resources(2, 0)


@dataclass(frozen=True)
class Bench:
    """An executor with room for two workers, and a folder of content.

    Attributes:
        target: Path of the definition of a normal density in two dimensions.
    """

    executor: Executor
    folder: Path
    spec: WorkerSpec
    target: str
    cluster: TwoNodes | None

    async def start(self, **changes: object) -> Worker:
        return await self.executor.start(replace(self.spec, **changes))  # type: ignore[arg-type]

    def processes(self) -> list[psutil.Process]:
        """The worker processes of this test, wherever they are, those that wait to be reaped left out."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    async def process(self) -> psutil.Process:
        """The only one, which may just be starting."""
        await until(lambda: len(self.processes()) == 1)
        return self.processes()[0]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            command = process.cmdline()
        except psutil.Error:
            return False
        return "gephyra.service.worker" in command and str(self.folder / "artefacts") in command


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it did not come true"
        await asyncio.sleep(0.02)


async def kind_of_next(worker: Worker, *wanted: str) -> worker_pb2.WorkerEvent | None:
    """The next event of one of these kinds; None at the worker's end."""
    while (event := await worker.receive()) is not None:
        if event.WhichOneof("event") in wanted:
            return event
    return None


@pytest.fixture(scope="session")
def cluster() -> Iterator[TwoNodes]:
    nodes = TwoNodes()
    yield nodes
    nodes.close()


def _local(request: pytest.FixtureRequest) -> tuple[Executor, TwoNodes | None]:
    return LocalExecutor(CAPACITY), None


def _ray(request: pytest.FixtureRequest) -> tuple[Executor, TwoNodes | None]:
    nodes: TwoNodes = request.getfixturevalue("cluster")
    from gephyra.service.executor.ray import RayExecutor

    return RayExecutor.connect(nodes.address, silence=60.0), nodes


async def _bench(opened: tuple[Executor, TwoNodes | None], folder: Path) -> AsyncIterator[Bench]:
    executor, nodes = opened
    artefacts = Artefacts(folder / "artefacts")
    target = artefacts.path(artefacts.put(gaussian(2).SerializeToString(deterministic=True)))
    spec = WorkerSpec(artefacts.folder, folder / "log", serving_environment(), heartbeat=LEASE / 4)
    bench = Bench(executor, folder, spec, str(target), nodes)
    yield bench
    await executor.close()
    await until(lambda: bench.processes() == [], seconds=10)
    assert executor.in_use == Resources(0, 0)


@pytest.fixture(params=[_local, pytest.param(_ray, marks=pytest.mark.ray)], ids=["local", "ray"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """Every executor by turns. After each test nothing is left."""
    async for each in _bench(request.param(request), tmp_path):
        yield each


@pytest.fixture
async def ray_bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async for each in _bench(_ray(request), tmp_path):
        yield each
