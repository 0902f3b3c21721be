"""An attempt where there is no place for its worker yet, and where its worker's machine is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gephyra.protos import worker_pb2
from gephyra.samplers.settings import TrainingSettings
from gephyra.service import jobs
from gephyra.service.artefacts import Artefacts
from gephyra.service.bus import Bus
from gephyra.service.config import TENANT, ServerConfig, Timings
from gephyra.service.core import Core
from gephyra.service.executor import Executor, Exit, Resources, Worker, WorkerSpec
from gephyra.service.pool import Pool
from gephyra.service.store import jobs as job_store
from gephyra.service.store import targets
from gephyra.service.store.database import Store
from gephyra.service.store.records import JobRecord, JobState, TargetRecord, TargetState
from gephyra.service.supervisor import Supervisor
from gephyra.service.uploads import Uploads

JOB = "some-job"
LOST = Exit(-9, "the node n1 of the cluster is gone")
KILLED = Exit(-9)


class Dying(Worker):
    """Ends at once, in the way given."""

    def __init__(self, end: Exit) -> None:
        self._end = end

    @property
    def alive(self) -> bool:
        return False

    async def send(self, command: worker_pb2.WorkerCommand) -> None:
        pass

    async def receive(self) -> worker_pb2.WorkerEvent | None:
        return None

    def terminate(self) -> None:
        pass

    def kill(self) -> None:
        pass

    async def close(self, seconds: float = 0.0) -> Exit:
        return self._end

    def log_tail(self) -> str:
        return "its last words"


class Scripted(Executor):
    """Workers that end as told, one after the other; after the last one there is no room."""

    def __init__(self, *ends: Exit) -> None:
        self.waiting = 0
        self._ends = list(ends)

    async def start(self, spec: WorkerSpec) -> Worker:
        if self._ends:
            return Dying(self._ends.pop(0))
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1
        raise AssertionError

    async def capacity(self) -> Resources:
        return Resources(0, 0)

    @property
    def in_use(self) -> Resources:
        return Resources(0, 0)

    async def close(self) -> None:
        pass


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    """A server without servicers, with a job that waits."""
    store, artefacts = Store(tmp_path / "db"), Artefacts(tmp_path / "artefacts")
    uploads, pool = Uploads(tmp_path / "uploads"), Pool(1, tmp_path, tmp_path)
    config = ServerConfig(tmp_path, "unix:/s", max_worker_restarts=1, timings=Timings(drain=1.0, lease=1.0))
    core = Core(config, store, artefacts, uploads, artefacts, pool, Bus(), lambda: 1)
    store.write_now(targets.add, TENANT, TargetRecord("t", "uid", TargetState.READY, "d" * 64, 2, "gaussian", 1))
    job = JobRecord(JOB, "uid-job", "t", "d" * 64, TrainingSettings(), JobState.QUEUED, 2)
    store.write_now(jobs.create, job, "", "")
    yield core
    store.close()


async def _ended(core: Core, *states: JobState) -> JobRecord:
    async with asyncio.timeout(20):
        while (job := core.store.read_now(jobs.find, JOB)).state not in states:
            await asyncio.sleep(0.01)
    return job


async def _waiting(executor: Scripted) -> None:
    async with asyncio.timeout(20):
        while not executor.waiting:
            await asyncio.sleep(0.01)


async def test_a_job_is_cancelled_while_there_is_no_place_for_it(core: Core) -> None:
    core.executor = executor = Scripted()
    supervisor = Supervisor(core)
    await supervisor.start()
    await _waiting(executor)
    # Longer than a lease: a job that waits for a place keeps its right to it.
    await asyncio.sleep(1.5)
    assert core.store.read_now(jobs.find, JOB).state is JobState.PENDING
    core.store.write_now(jobs.cancel, JOB, "", "", 3)
    supervisor.cancel(JOB)
    job = await _ended(core, JobState.CANCELLED)
    assert (executor.waiting, job.attempt, job.crashes) == (0, 1, 0)
    await supervisor.drain()


async def test_a_server_drains_while_a_job_waits_for_a_place(core: Core) -> None:
    core.executor = executor = Scripted()
    supervisor = Supervisor(core)
    await supervisor.start()
    await _waiting(executor)
    await supervisor.drain()
    assert executor.waiting == 0
    assert core.store.read_now(jobs.find, JOB).state is JobState.QUEUED


async def test_lost_machines_are_not_counted_as_crashes(core: Core) -> None:
    """Three of them, where a second crash would be the end."""
    core.executor = executor = Scripted(LOST, KILLED, LOST, LOST)
    supervisor = Supervisor(core)
    await supervisor.start()
    await _waiting(executor)
    job = core.store.read_now(jobs.find, JOB)
    assert (job.state, job.attempt, job.crashes) == (JobState.PENDING, 5, 1)
    events = [str(event) for event in core.store.read_now(job_store.events_after, TENANT, JOB, 0, 100)]
    assert sum(LOST.lost in event for event in events) == 3
    await supervisor.drain()


async def test_too_many_crashes_of_its_own_end_a_job(core: Core) -> None:
    core.executor = Scripted(KILLED, LOST, KILLED)
    supervisor = Supervisor(core)
    await supervisor.start()
    job = await _ended(core, JobState.FAILED)
    assert (job.attempt, job.crashes) == (3, 2)
    assert job.error is not None
    assert "the worker died 2 times, at last killed by signal 9" in job.error.message
    await supervisor.drain()
