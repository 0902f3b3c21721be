"""A mixed load through the client, whose every acknowledgement goes into a ledger. Random, from a seed."""

import asyncio
import hashlib
import random
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gephyra.clients.aio.client import AsyncClient
from gephyra.clients.aio.job import AsyncJob
from gephyra.clients.aio.sampler import AsyncSamplerHandle
from gephyra.clients.channel import Stubs
from gephyra.clients.content import BytesContent
from gephyra.clients.errors import FailedPrecondition, GephyraError, Internal, NotFound
from gephyra.clients.events import Event
from gephyra.clients.upload import sampler_requests, upload_blob
from gephyra.protos import dataset_service_pb2, sampler_service_pb2, target_service_pb2, tensor_pb2
from gephyra.protos import training_service_pb2 as pb
from tests.chaos.ledger import Ledger
from tests.chaos.orders import pause, request_id, try_again
from tests.support.server import gaussian

T = TypeVar("T")

BASE = "base-target"
_PAUSE = 0.15


class Load:
    """Actors that work until `over`, each with random numbers of its own."""

    def __init__(self, client: AsyncClient, ledger: Ledger, seed: int) -> None:
        self.client, self.ledger, self.over = client, ledger, asyncio.Event()
        self._seed, self._count = seed, 0

    async def prepare(self) -> None:
        """The target and the data set that jobs are about."""
        await self.client.register(_Definition(2), BASE)
        rows = np.random.Generator(np.random.Philox(0)).standard_normal((60, 2))
        dataset = await self.client.upload(rows, BASE, progress=False)
        self.ledger.labels[dataset.message.display_name] = dataset.name

    async def run(self) -> None:
        """All actors, to their end."""
        actors = [self._train] * 5 + [self._upload, self._register, self._read]
        async with asyncio.TaskGroup() as group:
            for number, actor in enumerate(actors):
                group.create_task(self._repeat(actor, random.Random(f"{self._seed}/{number}")))

    async def call(self, call: Callable[[Stubs], Any], request: Any, seconds: float = 10.0) -> Any:
        """The answer to a request, sent as often as it takes: the same request, with the same id."""
        return await self.insist(lambda: self.client._connection.unary(call, request, seconds))

    async def insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until there is an answer, or an error that the server explains."""
        while True:
            try:
                return await attempt()
            except GephyraError as error:
                if not broken(error):
                    raise
                await asyncio.sleep(_PAUSE)

    async def _repeat(self, actor: Callable[[random.Random], Awaitable[None]], rng: random.Random) -> None:
        while not self.over.is_set():
            await actor(rng)
            self.ledger.calls[actor.__name__] += 1
            await asyncio.sleep(rng.uniform(0, 0.3))

    def _number(self) -> int:
        self._count += 1
        return self._count

    async def _train(self, rng: random.Random) -> None:
        ledger, seed = self.ledger, self._number()
        request = _job_request(rng, seed)
        ledger.seeds[seed] = ""
        message = await self.twice(rng, lambda stubs: stubs.training.CreateTrainingJob, request)
        ledger.seeds[seed] = message.name
        ledger.made(ledger.jobs, message.name, message.uid)
        job = AsyncJob(self.client._connection, message)
        watching = asyncio.create_task(self.watch(job))
        if rng.random() < 0.3:
            await asyncio.sleep(rng.uniform(0, 2))
            await pause(self, rng, job)
        if rng.random() < 0.3:
            await asyncio.sleep(rng.uniform(0, 4))
            await self.cancel(rng, job.name)
        await watching
        state = await self._settled(job)
        if state == pb.JOB_STATE_SUCCEEDED:
            await self._use(rng, job)
        elif rng.random() < 0.6:
            await try_again(self, rng, job)

    async def watch(self, job: AsyncJob) -> None:
        """Follow to the end, leaving and coming back between."""
        seen: list[Event] = self.ledger.watched.setdefault(job.name, [])
        while True:
            after = seen[-1].sequence if seen else 0
            try:
                async with aclosing(job.watch(after)) as events:
                    async for event in events:
                        seen.append(event)
                        if len(seen) % 7 == 0:
                            break
                    else:
                        return
            except GephyraError as error:
                if not broken(error):
                    raise
                await asyncio.sleep(_PAUSE)

    async def cancel(self, rng: random.Random, name: str) -> None:
        request = pb.CancelTrainingJobRequest(name=name, request_id=request_id(rng))
        await self.twice(rng, lambda stubs: stubs.training.CancelTrainingJob, request)
        self.ledger.cancelled.add(name)
        self.ledger.acknowledged += 1

    async def _settled(self, job: AsyncJob) -> int:
        record = (await self.insist(job.refresh)).message
        if record.state == pb.JOB_STATE_SUCCEEDED:
            sampler = AsyncSamplerHandle(
                self.client._connection,
                await self.call(
                    lambda stubs: stubs.samplers.GetSampler, sampler_service_pb2.GetSamplerRequest(name=record.sampler)
                ),
            )
            self.ledger.made(self.ledger.samplers, sampler.name, sampler.message.uid)
        return int(record.state)

    async def _use(self, rng: random.Random, job: AsyncJob) -> None:
        sampler = await self.insist(job.outcome)
        for _ in range(2):
            await self.draw(sampler, rng.choice((1, 2)), rng.choice((0, 100)))
        if not sampler.dataset and rng.random() < 0.4:
            await self._copy(rng, sampler)
        if rng.random() < 0.4:
            await self.delete(sampler.name, sampler.delete)

    async def _copy(self, rng: random.Random, sampler: AsyncSamplerHandle) -> None:
        """Export a sampler and import it; the copy gives the same draws."""
        with tempfile.TemporaryDirectory() as folder:
            path = await self.insist(lambda: sampler.save(Path(folder) / "sampler"))
            connection, number = self.client._connection, request_id(rng)

            async def send() -> sampler_service_pb2.Sampler:
                requests = sampler_requests(Path(path), "", number)
                return await connection.upload(lambda stubs: stubs.samplers.ImportSampler, requests, 60.0)

            message = await self.insist(send)
            if (again := await self.insist(send)).name != message.name:
                self.ledger.fault(f"a repeated import made {again.name} beside {message.name}")
        copy = AsyncSamplerHandle(connection, message)
        self.ledger.made(self.ledger.samplers, copy.name, message.uid)
        await self.draw(copy, 1, 0)
        if self.ledger.draws[copy.name, 1] != self.ledger.draws.get((sampler.name, 1), self.ledger.draws[copy.name, 1]):
            self.ledger.fault(f"{copy.name} draws otherwise than {sampler.name}, of which it is a copy")
        await self.delete(copy.name, copy.delete)

    async def draw(self, sampler: AsyncSamplerHandle, seed: int, chunk: int) -> None:
        """Draw; the same draws must come every time."""
        drawn = await self.insist(lambda: sampler.draw(700, seed=seed, chunk_size=chunk))
        digest = hashlib.sha256(np.asarray(drawn.x).tobytes() + np.asarray(drawn.log_weights).tobytes()).hexdigest()
        if self.ledger.draws.setdefault((sampler.name, seed), digest) != digest:
            self.ledger.fault(f"draws of {sampler.name} with seed {seed} changed")

    async def _upload(self, rng: random.Random) -> None:
        values = np.array([[rng.gauss(0, 1) for _ in range(2)] for _ in range(rng.choice((20, 20_000)))])
        content, label = values.astype("<f8").tobytes(), f"set {self._number()}"
        blob = tensor_pb2.BlobArray(
            blob=f"blobs/{hashlib.sha256(content).hexdigest()}", dtype=tensor_pb2.DTYPE_FLOAT64, shape=values.shape
        )
        request = dataset_service_pb2.CreateDatasetRequest(array=blob, display_name=label, request_id=request_id(rng))
        self.ledger.labels[label] = ""
        await self.insist(lambda: upload_blob(self.client._connection, BytesContent(content), resume=True))
        self.ledger.acknowledged += 1
        message = await self.twice(rng, lambda stubs: stubs.datasets.CreateDataset, request)
        self.ledger.labels[label] = message.name
        self.ledger.made(self.ledger.datasets, message.name, message.uid)
        dataset = await self.insist(lambda: self.client.dataset(message.name))
        if rng.random() < 0.5:
            await self.delete(dataset.name, dataset.delete)

    async def _register(self, rng: random.Random) -> None:
        request = target_service_pb2.CreateTargetRequest(
            target_id=f"target-{self._number()}",
            definition=gaussian(rng.randrange(2, 50)),
            request_id=request_id(rng),
        )
        message = await self.twice(rng, lambda stubs: stubs.targets.CreateTarget, request)
        self.ledger.made(self.ledger.targets, message.name, message.uid)
        target = await self.insist(lambda: self.client.target(message.name))
        if rng.random() < 0.5:
            await self.delete(target.name, target.delete)

    async def _read(self, rng: random.Random) -> None:
        """What was acknowledged is there at any time."""
        ledger = self.ledger
        names = [*ledger.jobs, *ledger.samplers, *ledger.datasets, *ledger.targets]
        if names:
            await self.read(rng.choice(names))
        else:
            await asyncio.sleep(_PAUSE)

    async def read(self, name: str) -> None:
        """See that an acknowledged resource is there."""
        client, known = self.client, {**self.ledger.jobs, **self.ledger.samplers}
        known |= {**self.ledger.datasets, **self.ledger.targets}
        find: dict[str, Callable[[str], Awaitable[Any]]] = {
            "trainingJobs": client.job, "samplers": client.sampler, "datasets": client.dataset, "targets": client.target
        }  # fmt: skip
        try:
            found = await self.insist(lambda: find[name.partition("/")[0]](name))
        except GephyraError as error:
            self.ledger.missed(name, error)
            return
        if found.message.uid != known[name]:
            self.ledger.fault(f"{name} is another one now")

    async def twice(self, rng: random.Random, call: Callable[[Stubs], Any], request: Any) -> Any:
        """Send a request, sometimes twice at once, and sometimes again after the answer: it must act once."""
        copies = 2 if rng.random() < 0.3 else 1
        answers = await asyncio.gather(*(self.call(call, request) for _ in range(copies)))
        if rng.random() < 0.3:
            answers.append(await self.call(call, request))
        if len(names := {answer.name for answer in answers}) > 1:
            self.ledger.fault(f"a {type(request).__name__} that was repeated made {sorted(names)}")
        return answers[0]

    async def delete(self, name: str, delete: Callable[[], Awaitable[None]]) -> None:
        """Delete; a call that broke is sent again, and then may find nothing."""
        self.ledger.doubtful.add(name)
        try:
            await self.insist(delete)
        except NotFound:
            pass
        except FailedPrecondition as error:
            if error.reason != "RESOURCE_IN_USE":
                raise
            self.ledger.doubtful.discard(name)
            return
        self.ledger.deleted.add(name)
        self.ledger.acknowledged += 1


def broken(error: GephyraError) -> bool:
    """Whether nobody answered, or somebody died: the transport gives no reason, or the error says to try again."""
    return error.retryable or (isinstance(error, Internal) and not error.reason) or error.reason == "WORKER_DIED"


def _job_request(rng: random.Random, seed: int) -> pb.CreateTrainingJobRequest:
    """A small job about the target or the data set; its seed tells it from all others."""
    iterations, number = rng.choice((10, 60, 400)), request_id(rng)
    if rng.random() < 0.3:
        denoising = pb.DenoisingConfig(iterations=iterations, batch_size=16, width=8, blocks=1, seed=seed)
        return pb.CreateTrainingJobRequest(dataset=f"datasets/{BASE}", denoising=denoising, request_id=number)
    config = pb.TrainingConfig(
        iterations=iterations, batch_size=16, steps=4, width=8, seed=seed, precondition=pb.PRECONDITION_NONE
    )
    return pb.CreateTrainingJobRequest(target=f"targets/{BASE}", config=config, request_id=number)


class _Definition:
    def __init__(self, dim: int) -> None:
        self._dim = dim

    def definition(self) -> target_service_pb2.TargetDefinition:
        """The standard normal."""
        return gaussian(self._dim)
