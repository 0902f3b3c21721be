"""Several workers are to an attempt as one: what each of them may say, and what the end of one means."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from google.rpc import status_pb2

from gephyra.protos import training_service_pb2, worker_pb2
from gephyra.service.executor import Executor, Exit, LocalExecutor, NoPlace, Resources, Worker, WorkerSpec
from gephyra.service.exits import GROUP_LOST
from gephyra.service.team import Team, start_team

_Event = worker_pb2.WorkerEvent

READY, BEAT = _Event(ready=_Event.Ready()), _Event(heartbeat=_Event.Heartbeat())
METRICS = _Event(metrics=training_service_pb2.TrainingMetrics(step=3))
FAILED = _Event(failed=status_pb2.Status(message="it failed"))
DONE = _Event(done=_Event.Done())
STORE = Path("store")


class Pretended(Worker):
    """A worker that says what a test has it say."""

    def __init__(self) -> None:
        self.sent: list[worker_pb2.WorkerCommand] = []
        self.signals: list[int] = []
        self.end = Exit(0)
        self.closed = False
        self._events: asyncio.Queue[_Event | None] = asyncio.Queue()
        self._alive = True

    @property
    def alive(self) -> bool:
        return self._alive

    def says(self, *events: _Event) -> None:
        for event in events:
            self._events.put_nowait(event)

    def ends(self, end: Exit) -> None:
        if self._alive:
            self._alive, self.end = False, end
            self._events.put_nowait(None)

    async def send(self, command: worker_pb2.WorkerCommand) -> None:
        self.sent.append(command)

    async def receive(self) -> _Event | None:
        return await self._events.get()

    def terminate(self) -> None:
        self.signals.append(signal.SIGTERM)

    def kill(self) -> None:
        self.signals.append(signal.SIGKILL)
        self.ends(Exit(-signal.SIGKILL))

    async def close(self, seconds: float = 0.0) -> Exit:
        self.closed = True
        return self.end

    def log_tail(self) -> str:
        return f"after {len(self.sent)} commands"


def acting(play: Callable[[Team, list[Pretended]], Awaitable[None]], size: int = 2) -> None:
    """Have a test play with a team."""

    async def run() -> None:
        workers = [Pretended() for _ in range(size)]
        team = Team(workers, STORE)
        await play(team, workers)
        await team.close()
        assert all(worker.closed for worker in workers)

    asyncio.run(run())


async def heard(team: Team) -> list[_Event]:
    """What it has to say at once."""
    found: list[_Event] = []
    while True:
        try:
            event = await asyncio.wait_for(team.receive(), 0.05)
        except TimeoutError:
            return found
        assert event is not None
        found.append(event)


def test_each_is_told_its_place_and_the_first_alone_hears_of_a_stop() -> None:
    async def play(team: Team, workers: list[Pretended]) -> None:
        train = worker_pb2.WorkerCommand(id=1, train=worker_pb2.WorkerCommand.Train(threads=2))
        await team.send(train)
        places = [worker.sent[0].train.group for worker in workers]
        assert [(place.rank, place.size, place.store) for place in places] == [(n, 3, "store") for n in range(3)]
        assert all(worker.sent[0].train.threads == 2 for worker in workers)
        await team.send(worker_pb2.WorkerCommand(id=1, stop=worker_pb2.WorkerCommand.Stop(command_id=1)))
        assert [len(worker.sent) for worker in workers] == [2, 1, 1]

    acting(play, 3)


def test_the_team_is_ready_when_all_are_and_beats_while_all_do() -> None:
    async def play(team: Team, workers: list[Pretended]) -> None:
        first, second = workers
        first.says(READY, BEAT, BEAT, BEAT)
        assert await heard(team) == []
        second.says(READY)
        assert await heard(team) == [READY]
        second.says(BEAT)
        assert await heard(team) == [BEAT]
        # Stopped, the second is silent; the beats of the first are no sign of life of the team.
        first.says(BEAT, BEAT)
        assert await heard(team) == []

    acting(play)


def test_what_the_first_tells_is_what_the_team_tells_and_failures_are_anyones() -> None:
    async def play(team: Team, workers: list[Pretended]) -> None:
        first, second = workers
        second.says(METRICS, DONE)
        assert await heard(team) == []
        first.says(METRICS)
        assert await heard(team) == [METRICS]
        second.says(FAILED)
        assert await heard(team) == [FAILED]

    acting(play)


DEATHS: dict[str, tuple[list[tuple[int, Exit]], Exit]] = {
    "the second is killed": ([(1, Exit(-9))], Exit(-9)),
    "the second ends by itself": ([(1, Exit(7))], Exit(7)),
    "the first is killed": ([(0, Exit(-11))], Exit(-11)),
    "the other notices before the server does": ([(0, Exit(GROUP_LOST)), (1, Exit(-11))], Exit(-11)),
    "one gave the others up": ([(0, Exit(GROUP_LOST))], Exit(GROUP_LOST)),
    "a machine is lost": ([(0, Exit(GROUP_LOST)), (1, Exit(0, "its node died"))], Exit(0, "its node died")),
    "a machine is lost and the other is killed": (
        [(1, Exit(-9)), (0, Exit(0, "its node died"))],
        Exit(0, "its node died"),
    ),
}


@pytest.mark.parametrize("name", DEATHS)
def test_the_end_of_one_is_that_of_all_and_says_why(name: str) -> None:
    ends, told = DEATHS[name]

    async def play(team: Team, workers: list[Pretended]) -> None:
        living = team.alive
        for rank, end in ends:
            workers[rank].ends(end)
        assert await asyncio.wait_for(team.receive(), 5) is None
        assert await team.receive() is None
        assert (living, team.alive) == (True, False)
        assert all(signal.SIGKILL in worker.signals for worker in workers)
        assert await team.close() == told

    acting(play)


def test_killed_it_ends() -> None:
    async def play(team: Team, workers: list[Pretended]) -> None:
        team.kill()
        assert await asyncio.wait_for(team.receive(), 5) is None
        assert str(await team.close()).startswith("killed by signal 9")

    acting(play)


def test_the_last_words_of_a_run_are_heard_though_an_assistant_ended_first() -> None:
    async def play(team: Team, workers: list[Pretended]) -> None:
        workers[1].ends(Exit(GROUP_LOST))
        await asyncio.sleep(0.05)
        workers[0].says(FAILED)
        assert await asyncio.wait_for(team.receive(), 0.5) == FAILED
        assert await asyncio.wait_for(team.receive(), 5) is None

    acting(play)


class Few(Executor):
    """Starts pretended workers, as many as it is let."""

    def __init__(self, most: int, cpus: float = 100) -> None:
        self.started: list[Pretended] = []
        self.specs: list[WorkerSpec] = []
        self.most, self._cpus = most, cpus

    async def start(self, spec: WorkerSpec) -> Worker:
        if len(self.started) >= self.most:
            await asyncio.Event().wait()
        self.started.append(Pretended())
        self.specs.append(spec)
        return self.started[-1]

    async def capacity(self) -> Resources:
        return Resources(self._cpus, 0)

    @property
    def in_use(self) -> Resources:
        return Resources(0, 0)

    async def close(self) -> None:
        return


SPEC = WorkerSpec(Path("artefacts"), Path("attempt-3.log"), {}, threads=2, cpus=2)


def test_one_worker_is_no_team() -> None:
    executor = Few(9)
    assert asyncio.run(start_team(executor, asyncio.Lock(), SPEC, 1, Path())) is executor.started[0]
    assert executor.specs == [SPEC]


def test_every_member_has_a_log() -> None:
    executor = Few(9)

    async def run() -> None:
        await (await start_team(executor, asyncio.Lock(), SPEC, 3, Path())).close()

    asyncio.run(run())
    names = ("attempt-3.log", "attempt-3.1.log", "attempt-3.2.log")
    assert executor.specs == [replace(SPEC, log=Path(name)) for name in names]


def test_a_team_that_never_fits_is_refused_at_once() -> None:
    with pytest.raises(NoPlace, match="3 workers together need"):
        asyncio.run(asyncio.wait_for(start_team(Few(9, cpus=5), asyncio.Lock(), SPEC, 3, Path()), 5))


def test_cancelled_while_it_waits_for_room_it_leaves_no_worker_behind() -> None:
    executor = Few(2)

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(start_team(executor, asyncio.Lock(), SPEC, 3, Path()), 0.1)

    asyncio.run(run())
    assert len(executor.started) == 2
    assert all(worker.closed for worker in executor.started)


def test_two_teams_that_want_the_same_places_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Each fits, both together do not: one of them has all of its places before the other has any."""
    spec = WorkerSpec(tmp_path, tmp_path / "log", {}, cpus=1)

    async def run() -> None:
        executor, turn = LocalExecutor(Resources(3, 0)), asyncio.Lock()
        teams = [asyncio.create_task(start_team(executor, turn, spec, 2, tmp_path)) for _ in range(2)]
        done, _ = await asyncio.wait(teams, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        await done.pop().result().close()
        done, _ = await asyncio.wait(teams, timeout=20)
        assert len(done) == 2
        for team in teams:
            await team.result().close()
        await executor.close()

    asyncio.run(run())


def test_places_that_others_wait_for_are_given_back_and_asked_for_again() -> None:
    """As two servers must that share a cluster, and each hold half of what their teams need."""
    executor = Few(1)

    async def run() -> None:
        starting = asyncio.create_task(start_team(executor, asyncio.Lock(), SPEC, 2, Path(), patience=0.1))
        while not (executor.started and executor.started[0].closed):
            await asyncio.sleep(0.01)
        executor.most = 100
        team = await asyncio.wait_for(starting, 5)
        assert not any(worker.closed for worker in executor.started[-2:])
        await team.close()

    asyncio.run(run())
