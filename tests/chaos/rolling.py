"""Two servers on one PostgreSQL and one folder, each restarted in turn under a mixed load, and what came of it.

`python -m tests.chaos.rolling --database-url URL --rounds 3 --kill` runs one by itself and prints what it found.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from gephyra.clients.aio.client import AsyncClient
from gephyra.clients.aio.job import AsyncJob
from gephyra.clients.aio.sampler import AsyncSamplerHandle
from gephyra.clients.errors import GephyraError
from gephyra.clients.events import Event, event_from_message
from gephyra.clients.words import JobState
from gephyra.protos import target_service_pb2
from gephyra.protos import training_service_pb2 as pb
from tests.chaos.host import Host
from tests.chaos.ledger import Ledger, judge_events, judge_watch
from tests.support.server import gaussian, wait_for

__all__ = ["Rolling", "rolling"]

_TARGET = "some-target"
_LEASE = "6"
_LONGEST_DRAIN = 30.0
_END_SECONDS = 120.0
# Before a restart, for a call that needs a worker to come through: workers take a while to start on a busy machine.
_WORK_SECONDS = 20.0


class _Definition:
    """The standard normal."""

    def definition(self) -> target_service_pb2.TargetDefinition:
        """Of two dimensions."""
        return gaussian(2)


class Rolling:
    """The load, through clients that know both addresses, and what it saw. No call of it may fail."""

    def __init__(self, client: AsyncClient, deletes: bool) -> None:
        self.client, self.over, self.ledger = client, asyncio.Event(), Ledger()
        self.calls: Counter[str] = Counter()
        self.longest: dict[str, float] = {}
        self.watched: dict[str, list[Event]] = {}
        self.restarts = 0
        self._deletes, self._draws = deletes, dict[tuple[str, int], str]()
        self._number = self._done = 0

    def __str__(self) -> str:
        return (
            f"{self.restarts} restarts; {self.calls.total()} calls ({dict(self.calls)}), {len(self.watched)} jobs, "
            f"{sum(map(len, self.watched.values()))} watched events; longest "
            f"{', '.join(f'{what} {seconds:.1f} s' for what, seconds in self.longest.items())}; "
            f"{len(self.ledger.faults)} faults" + "".join(f"\n  {fault}" for fault in self.ledger.faults)
        )

    async def call(self, what: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """One call of the client; its failure is a fault."""
        self.calls[what] += 1
        started = time.monotonic()
        try:
            answer = await work()
            self._done += what in ("draw", "evaluate", "load")
            return answer
        except GephyraError as error:
            self.ledger.fault(f"{what} failed: {type(error).__name__}: {error}")
            raise
        finally:
            self.longest[what] = max(self.longest.get(what, 0.0), time.monotonic() - started)

    async def prepare(self) -> None:
        """The target of all jobs, and a first sampler."""
        await self.call("register", lambda: self.client.register(_Definition(), _TARGET))
        self.sampler = await self._train(iterations=10)

    async def work_done(self) -> None:
        """Wait until a worker has done something, for a while."""
        before = self._done
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WORK_SECONDS):
                while self._done == before:
                    await asyncio.sleep(0.1)

    async def run(self, trainers: int) -> None:
        """All actors, to their end. One that has failed ends."""
        actors = [self._train] * trainers + [self._draw, self._upload, self._register, self._read]
        await asyncio.gather(*map(self._repeat, actors))

    async def _repeat(self, actor: Callable[[], Awaitable[Any]]) -> None:
        with contextlib.suppress(GephyraError):  # It has been noted.
            while not self.over.is_set():
                await actor()
                await asyncio.sleep(0.2)

    async def _train(self, iterations: int = 40) -> AsyncSamplerHandle:
        options = {"iterations": iterations, "batch_size": 16, "steps": 4, "width": 8, "precondition": "none"}
        job: AsyncJob = await self.call("train", lambda: self.client.train(f"targets/{_TARGET}", **options))  # type: ignore[arg-type]
        seen = self.watched.setdefault(job.name, [])

        async def watch() -> None:
            async for event in job.watch():
                seen.append(event)

        await self.call("watch", watch)
        sampler: AsyncSamplerHandle = await self.call("outcome", job.outcome)
        return sampler

    async def _draw(self) -> None:
        seed = self.calls["draw"] % 3
        drawn = await self.call("draw", lambda: self.sampler.draw(2000, seed=seed, chunk_size=100))
        if self._draws.setdefault((self.sampler.name, seed), drawn.sha256) != drawn.sha256:
            self.ledger.fault(f"draws of seed {seed} changed")
        await self.call("evidence", lambda: self.sampler.evidence(200, seed=seed))

    async def _upload(self) -> None:
        self._number += 1
        rows = np.random.Generator(np.random.Philox(self._number)).standard_normal((50_000, 2))
        dataset = await self.call("upload", lambda: self.client.upload(rows, progress=False))
        if dataset.message.rows != len(rows):
            self.ledger.fault(f"{dataset.name} has {dataset.message.rows} rows")
        if self._deletes:
            await self.call("delete", dataset.delete)

    async def _register(self) -> None:
        name = f"target-{hashlib.sha256(str(self.calls['register']).encode()).hexdigest()[:8]}"
        target = await self.call("register", lambda: self.client.register(_Definition(), name))
        await self.call("evaluate", lambda: target.evaluate(np.zeros((3, 2))))

    async def _read(self) -> None:
        for what, work in (("info", self.client.info), ("jobs", self.client.jobs), ("samplers", self.client.samplers)):
            await self.call(what, work)
        with tempfile.TemporaryDirectory() as folder:
            path = await self.call("save", lambda: self.sampler.save(Path(folder) / "sampler"))
            await self.call("load", lambda: self.client.load(path, "some-copy"))

    async def judge(self) -> None:
        """Every job has ended well, once; its events have no gaps; who watched has seen them all."""
        for job in await self.client.jobs():
            record, stored = job.message, []
            request = pb.WatchTrainingJobRequest(name=job.name)
            async for answer in self.client._connection.stream(lambda s: s.training.WatchTrainingJob, request):
                stored.append(answer.event)
            judge_events(job.name, stored, self.ledger)
            told = [event for event in map(event_from_message, stored) if event is not None]
            judge_watch(job.name, self.watched.get(job.name, []), told, True, self.ledger)
            if job.state is not JobState.SUCCEEDED:
                self.ledger.fault(f"{job.name} ended as {job.state}: {record.error.message}")
            # Each restart takes a job at most once from a server.
            if record.attempt > 1 + self.restarts:
                self.ledger.fault(f"{job.name} took {record.attempt} attempts")
        made = Counter(sampler.message.training_job for sampler in await self.client.samplers())
        self.ledger.faults += [f"{job} made {count} samplers" for job, count in made.items() if job and count > 1]


async def rolling(folder: Path, url: str, rounds: int, *, kill: bool = False, trainers: int = 3) -> Rolling:
    """Restart each of two servers so many times, by SIGTERM or SIGKILL, then let the load end and judge."""
    arguments = ("--database-url", url, "--running-jobs", "2")
    command = ("tests.chaos.impatient", _LEASE)
    hosts = [Host(folder / name, command, arguments, folder / "data") for name in ("one", "two")]
    try:
        await asyncio.gather(*(asyncio.to_thread(host.start) for host in hosts))
        async with AsyncClient(",".join(host.address for host in hosts), patience=_END_SECONDS) as client:
            load = Rolling(client, deletes=not kill)
            await load.prepare()
            working = asyncio.create_task(load.run(trainers))
            looking = asyncio.create_task(_look(hosts[0], load))
            for host in hosts * rounds:
                await load.work_done()
                await asyncio.to_thread(_restart, host, kill, load)
            load.over.set()
            await asyncio.wait_for(working, _END_SECONDS)
            if looking.done():
                looking.result()
            looking.cancel()
            await load.judge()
        for status in await asyncio.gather(*(asyncio.to_thread(host.stop) for host in hosts)):
            if status != 0:
                load.ledger.fault(f"the last drain ended with exit status {status}")
        await asyncio.to_thread(_judge_rest, hosts[0], load)
    finally:
        for host in hosts:
            await asyncio.to_thread(host.close)
    return load


def _restart(host: Host, kill: bool, load: Rolling) -> None:
    load.restarts += 1
    if kill:
        host.kill()
    elif (status := host.stop(_LONGEST_DRAIN)) != 0:
        load.ledger.fault(f"a drain ended with exit status {status}")
    host.start()


async def _look(host: Host, load: Rolling) -> None:
    """No job is ever at work in two processes: their logs, which have its name, are open once."""
    before: set[str] = set()
    while True:
        twice = await asyncio.to_thread(_worked_on_twice, host)
        # A process that was killed may take a moment to go.
        for job in twice & before:
            load.ledger.fault(f"{job} is at work twice")
        before = twice
        await asyncio.sleep(0.5)


def _worked_on_twice(host: Host) -> set[str]:
    jobs: Counter[str] = Counter()
    for worker in host.workers():
        try:
            log = Path(os.readlink(f"/proc/{worker.pid}/fd/2"))
        except OSError:
            continue
        jobs[log.parent.name] += log.name.startswith("attempt-")
    return {job for job, count in jobs.items() if count > 1}


def _judge_rest(host: Host, load: Rolling) -> None:
    """After both have ended nothing is left but what was stored."""
    wait_for(lambda: not host.workers(), 10, "the end of all workers")
    load.ledger.faults += [f"left on disk: {path}" for path in host.litter()]
    load.ledger.faults += [f"left of an upload: {path}" for path in host.data.glob("artefacts/uploads/unfinished/*")]


def main() -> int:
    """One run; 1 if it found a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.rolling")
    parser.add_argument("--database-url", required=True, help="of an empty database of PostgreSQL")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kill", action="store_true", help="by SIGKILL instead of SIGTERM")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gephyra-rolling-") as folder:
        found = asyncio.run(rolling(Path(folder), options.database_url, options.rounds, kill=options.kill))
    print(f"{time.monotonic() - started:.0f} s: {found}")
    return 1 if found.ledger.faults else 0


if __name__ == "__main__":
    sys.exit(main())
