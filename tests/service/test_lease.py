"""One live attempt writes: leases, what a hung worker and a lost database lead to, and a folder of checkpoints each."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.settings import TrainingSettings
from gephyra.service import jobs
from gephyra.service.artefacts import Artefacts
from gephyra.service.bus import Bus
from gephyra.service.checkpoints import open_checkpoints
from gephyra.service.config import TENANT, ServerConfig, Timings
from gephyra.service.core import Core
from gephyra.service.errors import Reason, Unavailable
from gephyra.service.lease import Lease
from gephyra.service.pool import Pool
from gephyra.service.store import jobs as job_store
from gephyra.service.store.database import Store
from gephyra.service.store.records import JobRecord, JobState
from gephyra.service.uploads import Uploads
from tests.service.test_jobs_live import LONG, wait_for_checkpoint, wait_for_state
from tests.support.server import ServerProcess, create_job, gaussian, get_job, register, wait_for, watch

JOB = JobRecord("job", "u", "t", "", TrainingSettings(), JobState.QUEUED, 1)
LEASE = 0.3


def claimed(store: Store, now: int, owner: str = "server-one") -> JobRecord:
    job = store.write_now(jobs.claim, now, owner, now + 100)
    assert job is not None
    return job


def test_who_claims_a_job_owns_it_until_the_attempt_ends(store: Store) -> None:
    store.write_now(job_store.add, TENANT, JOB, b"")
    first = claimed(store, 10)
    assert (first.attempt, first.owner, first.lease) == (1, "server-one", 110)
    assert store.write_now(jobs.renew, first, 500)
    assert store.read_now(jobs.find, "job").lease == 500
    store.write_now(jobs.move, first, (JobState.PENDING,), JobState.RUNNING, 11)
    assert store.read_now(jobs.find, "job").owner == "server-one"
    store.write_now(jobs.put_back, first, 12)
    free = store.read_now(jobs.find, "job")
    assert (free.owner, free.lease) == ("", None)
    assert not store.write_now(jobs.renew, first, 900)


def test_an_earlier_attempt_and_another_server_cannot_renew(store: Store) -> None:
    store.write_now(job_store.add, TENANT, JOB, b"")
    first = claimed(store, 10)
    store.write_now(jobs.recover, 12)
    second = claimed(store, 13, "server-two")
    assert not store.write_now(jobs.renew, first, 900)
    assert store.read_now(jobs.find, "job") == second
    assert store.write_now(jobs.renew, second, 700)
    store.write_now(jobs.cancel, "job", "", "", 14)
    # It may take a while to stop.
    assert store.write_now(jobs.renew, second, 800)
    store.write_now(jobs.put_back, store.read_now(jobs.find, "job"), 15)
    assert store.read_now(jobs.find, "job").state is JobState.CANCELLED
    assert not store.write_now(jobs.renew, second, 900)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    """A server without servicers, whose leases are short."""
    config = ServerConfig(tmp_path, "unix:/s", timings=Timings(lease=LEASE))
    store, artefacts = Store(tmp_path / "db"), Artefacts(tmp_path)
    uploads, pool = Uploads(tmp_path / "uploads"), Pool(1, tmp_path, tmp_path)
    store.write_now(job_store.add, TENANT, JOB, b"")
    yield Core(config, store, artefacts, uploads, artefacts, pool, Bus(), lambda: 1_000_000)
    store.close()


async def test_a_lease_lasts_while_the_worker_is_heard(core: Core) -> None:
    job = claimed(core.store, 1)
    lease = Lease(core, job)
    keeping = asyncio.create_task(lease.keep())
    for _ in range(30):
        await asyncio.sleep(LEASE / 10)
        lease.hear()
    assert not keeping.done()
    assert (await core.store.read(jobs.find, "job")).lease == 1_000_000 + int(LEASE * 1e6)
    # Silence ends it.
    assert "no sign of life" in await asyncio.wait_for(keeping, 20)


async def test_a_lease_ends_when_another_attempt_begins(core: Core) -> None:
    lease = Lease(core, claimed(core.store, 1))
    await core.store.write(jobs.recover, 2)
    claimed(core.store, 3)
    assert "not the job's any more" in await asyncio.wait_for(lease.keep(), 20)


async def test_a_lease_ends_when_the_database_stays_away(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(core, claimed(core.store, 1))

    async def away(self: Store, *arguments: object) -> None:
        lease.hear()
        raise Unavailable(Reason.DATABASE_UNAVAILABLE, "the database failed")

    monkeypatch.setattr(Store, "write", away)
    assert "the database could not be told" in await asyncio.wait_for(lease.keep(), 20)


def test_each_attempt_has_a_folder_with_what_the_others_left(tmp_path: Path) -> None:
    # As version 0.2.0 left them.
    (tmp_path / "checkpoint-000000000001.safetensors").write_text("one")
    first = open_checkpoints(tmp_path, 1)
    (first / "checkpoint-000000000002.safetensors").write_text("two")
    assert open_checkpoints(tmp_path, 1) == first
    second = open_checkpoints(tmp_path, 2)
    assert {path.name: path.read_text() for path in second.iterdir()} == {
        "checkpoint-000000000001.safetensors": "one",
        "checkpoint-000000000002.safetensors": "two",
    }
    assert list(tmp_path.iterdir()) == [second]
    # The worker of the first attempt, should it wake, has nowhere to write.
    with pytest.raises(FileNotFoundError):
        (first / "checkpoint-000000000003.safetensors").write_text("late")


def test_a_worker_that_hangs_is_replaced_and_one_that_works_is_not(
    serve: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = serve(tmp_path / "data", "--lease", "6")
    target = register(server.stubs, gaussian(), "normal-hung")
    serving = {worker.pid for worker in server.workers()}
    job = create_job(server.stubs, target.name, LONG)
    step = wait_for_checkpoint(server.stubs, job.name)
    (hung,) = (worker for worker in server.workers() if worker.pid not in serving)
    hung.send_signal(signal.SIGSTOP)
    wait_for(lambda: get_job(server.stubs, job.name).attempt == 2, what="the second attempt")
    assert not psutil.pid_exists(hung.pid)
    wait_for_state(server.stubs, job.name, pb.JOB_STATE_RUNNING)
    # It goes on from where the first one was, and beyond its lease.
    (worker,) = (worker for worker in server.workers() if worker.pid not in serving)
    with pytest.raises(psutil.TimeoutExpired):
        worker.wait(8)
    server.stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job.name))
    events = watch(server.stubs, job.name)
    assert min(event.metrics.step for event in events if event.attempt == 2 and event.metrics.step) > step
    assert any("no sign of life for 6 s" in event.log for event in events)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.attempt for event in events] == sorted(event.attempt for event in events)
    assert get_job(server.stubs, job.name).attempt == 2
