"""A database that goes away while jobs run: they wait again, and are begun when it is back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gephyra.samplers.settings import TrainingSettings
from gephyra.service import jobs, supervisor
from gephyra.service.artefacts import Artefacts
from gephyra.service.bus import Bus
from gephyra.service.config import TENANT, ServerConfig
from gephyra.service.core import Core
from gephyra.service.errors import Failure, Reason, Unavailable
from gephyra.service.pool import Pool
from gephyra.service.store import jobs as job_store
from gephyra.service.store.database import Store
from gephyra.service.store.records import JobRecord, JobState
from gephyra.service.supervisor import Supervisor
from gephyra.service.uploads import Uploads

AWAY = Unavailable(Reason.DATABASE_UNAVAILABLE, "the database failed")


class MoodyStore(Store):
    """Refuses as many writes of each function as `moods` says."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.moods: dict[Any, int] = {}

    async def write(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.moods.get(function, 0) > 0:
            self.moods[function] -= 1
            await asyncio.sleep(0.02)
            raise AWAY
        return await super().write(function, *args, **kwargs)


class ScriptedAttempt:
    """Ends as `script` says: attempt after attempt, each by raising, or by cancelling its job."""

    script: ClassVar[list[Exception]] = []

    def __init__(self, core: Core, job: JobRecord, threads: int) -> None:
        self.job = job
        self._core = core

    async def run(self, traceparent: str = "") -> None:
        if self.script:
            raise self.script.pop(0)
        await self._core.store.write(jobs.move, self.job, (JobState.PENDING,), JobState.CANCELLED, 9)

    def stop(self, reason: object) -> None:
        pass

    def kill(self) -> None:
        pass


@pytest.fixture
async def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Core]:
    """A server without servicers, with a job that waits."""
    monkeypatch.setattr(supervisor, "Attempt", ScriptedAttempt)
    monkeypatch.setattr(supervisor, "_PAUSE_SECONDS", 0.01)
    store, artefacts = MoodyStore(tmp_path / "db"), Artefacts(tmp_path)
    uploads, pool = Uploads(tmp_path / "uploads"), Pool(1, tmp_path, tmp_path)
    core = Core(ServerConfig(tmp_path, "unix:/s"), store, artefacts, uploads, artefacts, pool, Bus(), lambda: 1)
    store.write_now(job_store.add, TENANT, JobRecord("job", "u", "t", "", TrainingSettings(), JobState.QUEUED, 1), b"")
    yield core
    store.close()


async def until(core: Core, state: JobState) -> JobRecord:
    async with asyncio.timeout(20):
        while (job := await core.store.read(jobs.find, "job")).state is not state:
            await asyncio.sleep(0.01)
    return job


async def test_jobs_are_begun_when_the_database_is_back(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedAttempt, "script", [])
    core.store.moods = {jobs.claim: 3}  # type: ignore[attr-defined]
    supervised = Supervisor(core)
    await supervised.start()
    assert (await until(core, JobState.CANCELLED)).attempt == 1
    await supervised.drain()


async def test_a_job_whose_attempt_lost_the_database_waits_again(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not blamed: nothing crashed."""
    monkeypatch.setattr(ScriptedAttempt, "script", [AWAY, AWAY])
    core.store.moods = {jobs.put_back: 3}  # type: ignore[attr-defined]
    supervised = Supervisor(core)
    await supervised.start()
    job = await until(core, JobState.CANCELLED)
    assert (job.attempt, job.crashes, job.error) == (3, 0, None)
    await supervised.drain()


async def test_a_fault_of_ours_fails_the_job_once_that_can_be_stored(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedAttempt, "script", [RuntimeError("a bug")])
    core.store.moods = {jobs.fail: 3}  # type: ignore[attr-defined]
    supervised = Supervisor(core)
    await supervised.start()
    job = await until(core, JobState.FAILED)
    assert isinstance(job.error, Failure)
    assert "a bug" in job.error.message
    await supervised.drain()


async def test_a_server_that_stops_does_not_wait_for_the_database(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedAttempt, "script", [AWAY])
    core.store.moods = {jobs.put_back: 10**9}  # type: ignore[attr-defined]
    supervised = Supervisor(core)
    await supervised.start()
    await until(core, JobState.PENDING)
    core.stopping = True
    async with asyncio.timeout(5):
        await supervised.drain()
    assert (await core.store.read(jobs.find, "job")).state is JobState.PENDING
    core.store.moods = {}  # type: ignore[attr-defined]
    await core.store.write(jobs.recover, 5)
    assert (await core.store.read(jobs.find, "job")).state is JobState.QUEUED


async def test_a_scheduler_that_is_refused_ends_when_it_is_told(core: Core) -> None:
    """The refusal of its last claim is not taken for the end of its being told."""
    core.store.moods = {jobs.claim: 10**9}  # type: ignore[attr-defined]
    supervised = Supervisor(core)
    await supervised.start()
    await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await supervised.drain()
