"""A database that goes away while jobs run: they wait again, and are begun when it is back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gephyra.samplers.settings import TrainingSettings
from gephyra.service import jobs, supervisor
from gephyra.service.artefacts import Artefacts
from gephyra.service.attempt import Superseded
from gephyra.service.bus import Bus
from gephyra.service.config import TENANT, ServerConfig
from gephyra.service.core import Core
from gephyra.service.errors import Failure, Reason, Unavailable
from gephyra.service.pool import Pool
from gephyra.service.slots import Room
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

    def __init__(self, core: Core, job: JobRecord, threads: int, environment: object) -> None:
        self.job = job
        self._core = core

    def seen(self) -> None:
        """The attempt has begun."""

    async def run(self, traceparent: str = "") -> None:
        self.seen()
        if self.script:
            raise self.script.pop(0)
        await self._core.store.write(jobs.cancel, self.job.name, "", "", 8)
        await self._core.store.write(jobs.move, self.job, (JobState.CANCELLING,), JobState.CANCELLED, 9)

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


@pytest.mark.parametrize(
    "ending", [Superseded(), AWAY, RuntimeError("a bug"), OSError("no worker"), None], ids=lambda ending: repr(ending)
)
async def test_slots_are_free_again_whatever_way_an_attempt_ends(
    core: Core, monkeypatch: pytest.MonkeyPatch, ending: Exception | None
) -> None:
    monkeypatch.setattr(ScriptedAttempt, "script", [] if ending is None else [ending])
    supervised = Supervisor(core)
    whole = supervised._slots.free
    assert whole == Room(1, 1, None)
    seen: list[Room] = []
    monkeypatch.setattr(ScriptedAttempt, "seen", lambda self: seen.append(supervised._slots.free))
    await supervised.start()
    async with asyncio.timeout(20):
        while not seen or supervised._tasks:
            await asyncio.sleep(0.01)
    assert set(seen) == {Room(0, 0, None)}
    assert supervised._slots.free == whole
    await supervised.drain()


class LingeringAttempt:
    """The first puts its job back, and ends when it is let go; the next ones end when they are told."""

    let_go: ClassVar[asyncio.Event]
    told: ClassVar[list[int]] = []

    def __init__(self, core: Core, job: JobRecord, threads: int, environment: object) -> None:
        self.job = job
        self._core = core

    def kill(self) -> None:
        pass

    async def run(self, traceparent: str = "") -> None:
        if self.job.attempt == 1:
            await self._core.store.write(jobs.put_back, self.job, 8)
            await self.let_go.wait()
        while self.job.attempt > 1 and not self.told:
            await asyncio.sleep(0.01)

    def stop(self, reason: object) -> None:
        self.told.append(self.job.attempt)


async def test_an_attempt_that_ends_late_does_not_strike_out_the_next_one(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for its worker's end while the job waits again, and a slot is free."""
    core.config = replace(core.config, running_jobs=2)
    monkeypatch.setattr(supervisor, "Attempt", LingeringAttempt)
    monkeypatch.setattr(LingeringAttempt, "let_go", asyncio.Event(), raising=False)
    monkeypatch.setattr(LingeringAttempt, "told", [])
    supervised = Supervisor(core)
    await supervised.start()
    async with asyncio.timeout(20):
        while (await core.store.read(jobs.find, "job")).attempt < 2:
            supervised.wake()
            await asyncio.sleep(0.01)
        assert supervised._slots.free == Room(0, 0, None)
        LingeringAttempt.let_go.set()
        while len(supervised._tasks) > 1:
            await asyncio.sleep(0.01)
        assert supervised._slots.free == Room(1, 1, None)
        supervised.cancel("job")
        assert LingeringAttempt.told == [2]
        while supervised._tasks:
            await asyncio.sleep(0.01)
    assert supervised._slots.free == Room(2, 2, None)
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
