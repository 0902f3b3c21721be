"""One live attempt writes (P3): a worker that was stopped past its lease and wakes again changes nothing."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from google.rpc import code_pb2, status_pb2

from gephyra.protos import training_service_pb2 as pb
from gephyra.protos import worker_pb2
from gephyra.samplers.settings import Budget, Precondition, TrainingSettings
from gephyra.samplers.storage import write_tensors
from gephyra.service import jobs
from gephyra.service.artefacts import Artefacts
from gephyra.service.attempt import Attempt, Superseded
from gephyra.service.bus import Bus
from gephyra.service.config import TENANT, ServerConfig, Timings
from gephyra.service.core import Core
from gephyra.service.executor.local import LocalWorker
from gephyra.service.pool import Pool
from gephyra.service.reports import to_report
from gephyra.service.server import Server
from gephyra.service.store import jobs as job_store
from gephyra.service.store import samplers, targets
from gephyra.service.store.database import Store
from gephyra.service.store.records import JobRecord, JobState, SamplerRecord, StoredEvent, TargetRecord, TargetState
from gephyra.service.uploads import Uploads
from gephyra.service.workspace import take_over
from tests.chaos.host import Host
from tests.chaos.impatient import HEARTBEAT, LEASE
from tests.support.server import Stubs, create_job, gaussian, get_job, register, wait_for, watch
from tests.support.wire import REPORT

LONG = pb.TrainingConfig(seconds=600.0, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_NONE)
_Event = worker_pb2.WorkerEvent


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path, ("tests.chaos.impatient", f"{LEASE}"))
    host.start()
    yield host
    host.close()


def _training(host: Host, stubs: Stubs, job: str, attempt: int) -> psutil.Process:
    """The process of an attempt that has begun to train."""

    def begun() -> bool:
        record = get_job(stubs, job)
        return record.attempt == attempt and record.state == pb.JOB_STATE_RUNNING and record.metrics.step > 0

    wait_for(begun, what=f"attempt {attempt}")
    (log,) = (host.data / "jobs" / job.partition("/")[2]).glob(f"attempt-{attempt}.log")
    return next(worker for worker in host.workers() if os.path.samefile(f"/proc/{worker.pid}/fd/2", log))


@pytest.mark.chaos
def test_a_worker_without_a_sign_of_life_is_replaced(host: Host) -> None:
    with grpc.insecure_channel(host.address) as channel:
        stubs = Stubs.on(channel)
        register(stubs, gaussian(2), "some-target")
        job = create_job(stubs, "targets/some-target", LONG).name
        first, server = _training(host, stubs, job, 1), psutil.Process(host.pid)
        # Not for a server that was stopped itself: what the worker said meanwhile is heard first.
        server.suspend()
        time.sleep(1.5 * LEASE)
        server.resume()
        time.sleep(LEASE / 3)
        assert (get_job(stubs, job).attempt, first.is_running()) == (1, True)
        first.send_signal(signal.SIGSTOP)
        second = _training(host, stubs, job, 2)
        assert second.pid != first.pid
        assert not first.is_running(), "it was killed while it was stopped"
        stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job))
        events = watch(stubs, job)
    assert [event.attempt for event in events] == sorted(event.attempt for event in events)
    assert any(f"no sign of life for {LEASE:g} s" in event.log for event in events)


@pytest.mark.chaos
async def test_a_worker_that_cannot_be_killed_wakes_up_and_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that is out of reach: the server cannot end the process, which is stopped and goes on later."""
    monkeypatch.setattr("gephyra.service.executor.process._REAP_SECONDS", 0.5)
    timings = Timings(heartbeat=HEARTBEAT, lease=LEASE, drain=5.0)
    server = Server(ServerConfig(tmp_path, "127.0.0.1:0", timings=timings))
    await server.start()
    core, supervisor = server._core, server._supervisor
    job, folder = await asyncio.to_thread(_store_job, core), core.job_folder(JOB)
    supervisor.wake()
    await _until(lambda: any(folder.glob("work-1/checkpoint-*")))
    worker = supervisor._attempts[job.name]._worker
    assert isinstance(worker, LocalWorker)
    process = psutil.Process(worker.pid)
    for way in ("kill", "terminate"):
        monkeypatch.setattr(worker._process, way, lambda: None)
    process.suspend()
    try:
        await _until(lambda: core.store.read_now(jobs.find, job.name).state is JobState.RUNNING and _attempt(core) == 2)
        assert process.status() == psutil.STATUS_STOPPED
    finally:
        process.resume()
    await _until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert not (folder / "work-1").exists()
    record = core.store.read_now(jobs.find, job.name)
    assert (record.attempt, record.crashes) == (2, 1)
    await server.stop()


@pytest.mark.parametrize(
    "event",
    [
        _Event(ready=_Event.Ready()),
        _Event(metrics=pb.TrainingMetrics(stage="train", step=9)),
        _Event(checkpoint=pb.CheckpointSaved(step=9)),
        _Event(log="late"),
        _Event(trained=_Event.Trained(report=to_report(REPORT))),
        _Event(failed=status_pb2.Status(code=code_pb2.INTERNAL, message="late")),
        _Event(stopped=_Event.Stopped()),
    ],
    ids=lambda event: str(event.WhichOneof("event")),
)
async def test_every_write_of_a_superseded_attempt_is_refused(core: Core, event: worker_pb2.WorkerEvent) -> None:
    first, second = _superseded(core)
    (core.job_folder(JOB) / "work-2" / "checkpoint-1").touch()
    before = _everything(core)
    assert event.WhichOneof("event") in first._handlers
    with contextlib.suppress(Superseded, RuntimeError, FileNotFoundError):
        await first._handlers[event.WhichOneof("event") or ""](event)
        # Metrics are stored later, and at the latest at the end.
        await first._flush_metrics()
    assert _everything(core) == before
    # The current attempt may write what that one may not.
    await second._handlers["log"](_Event(log="now"))
    assert _everything(core) != before


async def test_the_events_above_are_all_there_are(core: Core) -> None:
    first, _ = _superseded(core)
    assert set(first._handlers) == {"ready", "metrics", "checkpoint", "log", "trained", "failed", "stopped"}


def test_a_folder_is_taken_over_and_its_old_name_leads_nowhere(tmp_path: Path) -> None:
    first = take_over(tmp_path / "job", 1)
    (first / "checkpoint-1.safetensors").write_text("one")
    (first / "checkpoint-2.safetensors.part").write_text("half")
    second = take_over(tmp_path / "job", 2)
    assert [path.name for path in second.iterdir()] == ["checkpoint-1.safetensors"]
    with pytest.raises(FileNotFoundError):
        write_tensors(first / "checkpoint-3.safetensors", {}, {})
    assert [path.name for path in take_over(tmp_path / "job", 10).iterdir()] == ["checkpoint-1.safetensors"]
    # One that was late to begin.
    with pytest.raises(FileExistsError):
        take_over(tmp_path / "job", 9)
    assert [path.name for path in (tmp_path / "job/work-10").iterdir()] == ["checkpoint-1.safetensors"]
    # Those of version 0.2 too.
    (tmp_path / "old" / "checkpoints").mkdir(parents=True)
    (tmp_path / "old" / "checkpoints" / "checkpoint-1.safetensors").touch()
    assert [path.name for path in take_over(tmp_path / "old", 2).iterdir()] == ["checkpoint-1.safetensors"]


JOB = "job-one"


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    """The parts of a server that does not run."""
    config, artefacts = ServerConfig(tmp_path, "127.0.0.1:0"), Artefacts(tmp_path / "artefacts")
    uploads, contents = Uploads(tmp_path / "uploads"), Artefacts(tmp_path / "contents")
    pool, store = Pool(1, artefacts.folder, tmp_path), Store(tmp_path / "db")
    yield Core(config, store, artefacts, uploads, contents, pool, Bus(), lambda: 7)
    store.close()


def _store_job(core: Core) -> JobRecord:
    """A job of ten minutes on a normal density."""
    digest = core.artefacts.put(gaussian(2).SerializeToString(deterministic=True))
    target = TargetRecord("some-target", "uid", TargetState.READY, digest, 2, "gaussian", 1)
    settings = TrainingSettings(
        budget=Budget(seconds=600.0), batch_size=16, steps=4, width=8, precondition=Precondition.NONE
    )
    job = JobRecord(JOB, "uid-job", target.name, digest, settings, JobState.QUEUED, 2)
    core.store.write_now(targets.add, TENANT, target)
    return core.store.write_now(jobs.create, job, "", "")


def _superseded(core: Core) -> tuple[Attempt, Attempt]:
    """An attempt that was given up, and the one that took its place."""
    _store_job(core)
    first = core.store.write_now(jobs.claim, 3)
    assert first is not None
    core.store.write_now(jobs.move, first, (JobState.PENDING,), JobState.RUNNING, 4)
    core.store.write_now(jobs.move, first, (JobState.RUNNING,), JobState.QUEUED, 5, crashes=1)
    second = core.store.write_now(jobs.claim, 6)
    assert second is not None
    core.store.write_now(jobs.move, second, (JobState.PENDING,), JobState.RUNNING, 6)
    folder = core.job_folder(JOB)
    take_over(folder, 1)
    take_over(folder, 2)
    return Attempt(core, first, 1), Attempt(core, second, 1)


def _everything(core: Core) -> tuple[JobRecord, list[StoredEvent], list[str], list[SamplerRecord]]:
    read = core.store.read_now
    files = sorted(str(path) for path in core.job_folder(JOB).rglob("*"))
    events = read(job_store.events_after, TENANT, JOB, 0, 100)
    return read(jobs.find, JOB), events, files, read(samplers.page, TENANT, 10, "")[0]


def _attempt(core: Core) -> int:
    return core.store.read_now(jobs.find, JOB).attempt


async def test_a_clock_that_is_set_back_stops_no_metrics(core: Core) -> None:
    """An hour back or on (P15): progress is stored at the same pace."""
    attempt = _superseded(core)[1]
    steps = []
    for step, now in enumerate((10**15, 10**15 - 3600 * 10**6, 10**15 + 3600 * 10**6)):
        core.clock = lambda now=now: now  # type: ignore[misc]
        await attempt._handlers["metrics"](_Event(metrics=pb.TrainingMetrics(stage="train", step=step)))
        await asyncio.sleep(core.config.timings.metrics)
        metrics = core.store.read_now(jobs.find, JOB).metrics
        assert metrics is not None
        steps.append(metrics.step)
    assert steps == [0, 1, 2]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)
