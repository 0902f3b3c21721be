"""One campaign of kills under load, and the judgement afterwards. The seed decides everything but the timing.

`python -m tests.chaos.campaign --seed 3 --kills 20` runs one by itself and prints what it found.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

import psutil

from gephyra.clients.aio.client import AsyncClient
from gephyra.clients.events import event_from_message
from gephyra.protos import training_service_pb2 as pb
from gephyra.service.crash import Place
from tests.chaos.host import Host
from tests.chaos.ledger import TERMINAL, Ledger, judge_events, judge_watch
from tests.chaos.load import BASE, Load

__all__ = ["Outcome", "campaign"]

_TRAP_SECONDS = 4.0
_END_SECONDS = 60.0
_DRAIN_SECONDS = 30.0


class Outcome:
    """What a campaign did and found."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.kills: list[str] = []

    def __str__(self) -> str:
        ledger = self.ledger
        return (
            f"{len(self.kills)} kills ({', '.join(self.kills)}); {ledger.acknowledged} acknowledgements, "
            f"{len(ledger.jobs)} jobs, {sum(map(len, ledger.watched.values()))} watched events, "
            f"{dict(ledger.calls)}; {len(ledger.faults)} faults" + "".join(f"\n  {fault}" for fault in ledger.faults)
        )


async def campaign(folder: Path, seed: int, kills: int, database_url: str = "") -> Outcome:
    """Kill `kills` times under load, then judge. Rows are kept by SQLite, or by the database at the URL."""
    outcome, host = Outcome(), Host(folder, arguments=("--running-jobs", "2", "--database-url", database_url))
    try:
        await asyncio.to_thread(host.start)
        async with AsyncClient(host.address, patience=60.0) as client:
            load = Load(client, outcome.ledger, seed)
            await load.prepare()
            working = asyncio.create_task(load.run())
            await _kill(host, random.Random(seed), kills, outcome, working)
            load.over.set()
            await _settle(load, working)
            await _judge(load)
        await asyncio.to_thread(_judge_rest, host, outcome)
    finally:
        await asyncio.to_thread(host.close)
    return outcome


async def _kill(host: Host, rng: random.Random, kills: int, outcome: Outcome, working: "asyncio.Task[None]") -> None:
    places: list[Place] = []
    while len(outcome.kills) < kills and not working.done():
        # Long pauses let jobs end; short ones catch the server at its start.
        await asyncio.sleep(rng.choice((rng.uniform(0, 1), rng.uniform(0, 3), rng.uniform(3, 6))))
        kind = rng.choice(("server", "worker", "place", "place", "place", "drain"))
        if kind == "place":
            places = places or rng.sample(list(Place), len(Place))
            await _spring(host, places.pop(), outcome)
        elif kind == "drain":
            await _drain(host, outcome)
        elif kind == "worker":
            _kill_worker(host, rng, outcome)
        else:
            await asyncio.to_thread(host.kill)
            outcome.kills.append("server")
        if not host.alive:
            await _revive(host, rng, outcome)


async def _spring(host: Host, place: Place, outcome: Outcome) -> None:
    """Set a trap, and kill the server instead if nobody comes by."""
    host.arm(place)
    if place is Place.RECOVERED:
        await asyncio.to_thread(host.kill)
        outcome.kills.append("server")
        return
    deadline = time.monotonic() + _TRAP_SECONDS
    while not host.fired(place) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    if host.disarm(place):
        await asyncio.to_thread(host.kill)
        outcome.kills.append("server")
    else:
        outcome.kills.append(str(place))
        await asyncio.sleep(0.1)


def _kill_worker(host: Host, rng: random.Random, outcome: Outcome) -> None:
    workers = host.workers()
    if workers:
        try:
            rng.choice(workers).kill()
        except psutil.NoSuchProcess:
            return
        outcome.kills.append("worker")


async def _drain(host: Host, outcome: Outcome) -> None:
    if (status := await asyncio.to_thread(host.stop, _DRAIN_SECONDS)) != 0:
        outcome.ledger.fault(f"a drain ended with exit status {status}")
    outcome.kills.append("drain")


async def _revive(host: Host, rng: random.Random, outcome: Outcome) -> None:
    await asyncio.to_thread(host.wait)
    await asyncio.sleep(rng.choice((0.0, rng.uniform(0, 1))))
    if rng.random() < 0.2:
        host.launch()
        await asyncio.sleep(rng.uniform(0, 1.5))
        if host.alive:
            await asyncio.to_thread(host.kill)
            outcome.kills.append("start")
        else:
            outcome.kills.append("recovered")
    lives = host.lives + 1
    await asyncio.to_thread(host.start)
    outcome.kills.extend("recovered" for _ in range(host.lives - lives))


async def _settle(load: Load, working: "asyncio.Task[None]") -> None:
    """Let actors end, helped by cancelling what is left; then all jobs have ended, and a new one succeeds."""
    deadline = time.monotonic() + _END_SECONDS
    while not working.done() and time.monotonic() < deadline:
        await asyncio.wait([working], timeout=10)
        for job in await load.insist(load.client.jobs):
            if not job.state.final and not working.done():
                await load.insist(job.cancel)
    if working.done():
        working.result()
    else:
        load.ledger.fault("the load did not come to its end")
        working.cancel()
        await asyncio.wait([working])
    # A slot is free.
    job = await load.client.train(f"targets/{BASE}", iterations=5, batch_size=16, steps=4, width=8, seed=0)
    load.ledger.seeds[0] = job.name
    await job.result(progress=False, timeout=_END_SECONDS)


async def _judge(load: Load) -> None:
    ledger, client = load.ledger, load.client
    for name in [*ledger.jobs, *ledger.samplers, *ledger.datasets, *ledger.targets]:
        await load.read(name)
    jobs = await client.jobs()
    ledger.listed(
        "jobs",
        [(job.message.config.seed or job.message.denoising.seed, job.name) for job in jobs if not job.retry_of],
        ledger.seeds,
    )
    ledger.listed("retries", [(job.retry_of, job.name) for job in jobs if job.retry_of], ledger.retries)
    datasets = [(dataset.message.display_name, dataset.name) for dataset in await client.datasets()]
    ledger.listed("data sets", datasets, ledger.labels)
    gone = ledger.deleted & {thing.name for thing in [*await client.samplers(), *await client.targets(), *jobs]}
    for name in gone | (ledger.deleted & {name for _, name in datasets}):
        ledger.fault(f"{name} was deleted and is back")
    for job in jobs:
        await _judge_job(load, job.message)
    for (sampler, seed), _ in list(ledger.draws.items()):
        if sampler not in ledger.deleted | ledger.doubtful:
            await load.draw(await client.sampler(sampler), seed, 0)


async def _judge_job(load: Load, record: pb.TrainingJob) -> None:
    ledger, stored = load.ledger, []
    request = pb.WatchTrainingJobRequest(name=record.name)
    async for response in load.client._connection.stream(lambda stubs: stubs.training.WatchTrainingJob, request):
        stored.append(response.event)
    judge_events(record.name, stored, ledger)
    seen = ledger.watched.get(record.name)
    if seen is not None:
        told = [event for event in map(event_from_message, stored) if event is not None]
        judge_watch(record.name, seen, told, record.state in TERMINAL, ledger)
    if record.state not in TERMINAL:
        ledger.fault(f"{record.name} has not ended: {record.state}")
    if record.state == pb.JOB_STATE_FAILED and "WORKER_DIED" not in str(record.error):
        ledger.fault(f"{record.name} failed: {record.error.message}")
    if record.name in ledger.cancelled and record.state == pb.JOB_STATE_FAILED:
        ledger.fault(f"{record.name} was cancelled and failed")


def _judge_rest(host: Host, outcome: Outcome) -> None:
    """After a drain nothing is left but what was stored."""
    if (status := host.stop()) != 0:
        outcome.ledger.fault(f"the drain ended with exit status {status}")
    for worker in host.workers():
        outcome.ledger.fault(f"process {worker.pid} is left")
    for path in host.litter():
        outcome.ledger.fault(f"left on disk: {path}")


def main() -> int:
    """One campaign; 1 if it found a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.campaign")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--database-url", default="", help="of an empty database of PostgreSQL; default: SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gephyra-chaos-") as folder:
        outcome = asyncio.run(campaign(Path(folder), options.seed, options.kills, options.database_url))
    print(outcome)
    return 1 if outcome.ledger.faults else 0


if __name__ == "__main__":
    sys.exit(main())
