"""What lasts goes on by itself: through connections that age, that swallow everything, and servers that come back."""

import asyncio
import hashlib
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from gephyra.clients import channel
from gephyra.clients.aio import AsyncClient
from gephyra.clients.aio.job import AsyncJob
from gephyra.clients.content import BytesContent
from gephyra.clients.definition import catalogue
from gephyra.clients.events import Event
from gephyra.clients.upload import upload_blob
from gephyra.protos import training_service_pb2 as pb
from tests.clients.fake import Answer, FakeServer
from tests.support.faulty import FaultyProxy, faulty_proxy
from tests.support.server import PATIENCE, ServerProcess

ENDLESS: dict[str, Any] = {"iterations": 10**7, "batch_size": 16, "steps": 4, "width": 8, "precondition": "none"}
QUICK: dict[str, Any] = {**ENDLESS, "iterations": 5}


@asynccontextmanager
async def served(folder: Path, **timings: float) -> AsyncIterator[tuple[ServerProcess, FaultyProxy, AsyncClient]]:
    """A server with these time limits, a proxy in front of it, and a client behind that."""
    server = ServerProcess(folder / "data", timings={"metrics": 0.05, **timings})
    with server, faulty_proxy(server.socket) as proxy:
        async with AsyncClient(proxy.address, patience=PATIENCE) as client:
            yield server, proxy, client


class Follower:
    """A watch in the background."""

    def __init__(self, job: AsyncJob) -> None:
        self.events: list[Event] = []
        self.task = asyncio.create_task(self._follow(job))

    async def _follow(self, job: AsyncJob) -> None:
        async for event in job.watch():
            self.events.append(event)

    async def more(self, count: int = 5) -> None:
        """Until so many more events came."""
        wanted = len(self.events) + count
        while len(self.events) < wanted and not self.task.done():
            await asyncio.sleep(0.02)
        assert not self.task.done(), self.task.result()

    def whole(self) -> bool:
        """Whether every event came or is accounted for, once and in order, to the end."""
        last = [0, *(event.sequence for event in self.events)]
        steps = [later - earlier for earlier, later in pairwise(last)]
        return steps == [1 + event.coalesced for event in self.events]


@pytest.mark.slow
async def test_streams_go_on_through_connections_that_age(tmp_path: Path) -> None:
    content = np.random.Generator(np.random.Philox(1)).bytes(16 << 20)
    async with served(tmp_path, connection_age=2.0, connection_grace=0.5) as (_, proxy, client):
        target = await client.register(catalogue("gaussian", dim=200))
        sampler = await (await client.train(target, **QUICK)).result(progress=False)
        job = await client.train(target, **ENDLESS)
        follower = Follower(job)
        await follower.more(1)
        before, proxy.pause = proxy.connections, 0.03
        blob, draws = await asyncio.gather(
            upload_blob(client._connection, BytesContent(content)), sampler.draw(12_000, seed=1)
        )
        await follower.more(1)
        assert proxy.connections - before >= 2
        proxy.pause = 0.0
        await job.cancel()
        await follower.task
        again = await sampler.draw(12_000, seed=1)
    assert blob == f"blobs/{hashlib.sha256(content).hexdigest()}"
    assert np.array_equal(draws.x, again.x)
    assert follower.whole()


async def test_a_watch_notices_a_connection_that_swallows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    # A sixtieth of what clients have; silence alone would be noticed after 45 s.
    monkeypatch.setattr(channel, "_PING_MS", 1000)
    monkeypatch.setattr(channel, "_PONG_MS", 333)
    clock, over = asyncio.get_running_loop().time, threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        fake = FakeServer(Path(folder) / "s", [("grpc.http2.min_recv_ping_interval_without_data_ms", 100)])
        fake.script = {"WatchTrainingJob": ticking(over), "GetTrainingJob": lambda request, context: JOB}
        fake.start()
        with faulty_proxy(fake.socket) as proxy:
            async with AsyncClient(proxy.address, patience=PATIENCE) as client:
                follower = Follower(await client.job(JOB.name))
                await follower.more(20)
                proxy.swallow()
                # What was under way still comes.
                await asyncio.sleep(0.1)
                began = clock()
                await follower.more(5)
                assert clock() - began < 20
                assert proxy.connections >= 2
                over.set()
                await follower.task
        fake.stop()
    assert follower.whole()


JOB = pb.TrainingJob(name="trainingJobs/job", state=pb.JOB_STATE_SUCCEEDED)


def ticking(over: threading.Event) -> Answer:
    """A watch with an event every 50 ms, until it is over."""

    def watch(request: Any, context: grpc.ServicerContext) -> Iterator[pb.WatchTrainingJobResponse]:
        sequence = request.after_sequence
        while not over.wait(0.05):
            sequence += 1
            yield pb.WatchTrainingJobResponse(event=pb.TrainingEvent(sequence=sequence, log="tick"))
        event = pb.TrainingEvent(sequence=sequence + 1, state=pb.JOB_STATE_SUCCEEDED)
        yield pb.WatchTrainingJobResponse(event=event)

    return watch


@pytest.mark.slow
async def test_a_watch_goes_on_when_a_server_is_started_again(tmp_path: Path) -> None:
    async with served(tmp_path, drain=5.0) as (server, _, client):
        job = await client.train(await client.register(catalogue("gaussian", dim=2)), **ENDLESS)
        follower = Follower(job)
        await follower.more()
        assert await asyncio.to_thread(server.stop) == 0
        await asyncio.to_thread(server.start)
        await follower.more()
        await job.cancel()
        await follower.task
    assert follower.whole()
    assert follower.events[-1].attempt == 2
