"""What the load asks of jobs while they run and after they ended."""

import asyncio
import random
import uuid
from typing import TYPE_CHECKING

from gephyra.clients.aio.job import AsyncJob
from gephyra.clients.errors import FailedPrecondition
from gephyra.clients.words import JobState
from gephyra.protos import training_service_pb2 as pb

if TYPE_CHECKING:
    from tests.chaos.load import Load

__all__ = ["pause", "request_id", "try_again"]

_LOOK_SECONDS = 0.15


async def pause(load: "Load", rng: random.Random, job: AsyncJob) -> None:
    """Pause a job, see that this comes about unless the job ends first, and let it go on."""
    stop = pb.PauseTrainingJobRequest(name=job.name, request_id=request_id(rng))
    go_on = pb.ResumeTrainingJobRequest(name=job.name, request_id=request_id(rng))
    try:
        await load.twice(rng, lambda stubs: stubs.training.PauseTrainingJob, stop)
        load.ledger.acknowledged += 1
        while not (await load.insist(job.refresh)).state.final and job.state is not JobState.PAUSED:
            if not job.pausing:
                load.ledger.fault(f"{job.name} is {job.state}, and nobody knows that it is to pause")
                return
            await asyncio.sleep(_LOOK_SECONDS)
        await asyncio.sleep(rng.uniform(0, 1))
        await load.twice(rng, lambda stubs: stubs.training.ResumeTrainingJob, go_on)
        load.ledger.acknowledged += 1
    except FailedPrecondition as error:
        # It ended meanwhile.
        if error.reason != "JOB_STATE_UNSUITED" or not (await load.insist(job.refresh)).state.final:
            raise


async def try_again(load: "Load", rng: random.Random, job: AsyncJob) -> None:
    """Retry a job that ended without a sampler, do away with both; each was asked for once."""
    ledger, request = load.ledger, pb.RetryTrainingJobRequest(name=job.name, request_id=request_id(rng))
    ledger.retries[job.name] = ""
    message = await load.twice(rng, lambda stubs: stubs.training.RetryTrainingJob, request)
    ledger.retries[job.name] = message.name
    ledger.made(ledger.jobs, message.name, message.uid)
    again = AsyncJob(load.client._connection, message)
    if rng.random() < 0.5:
        await load.delete(job.name, job.delete)
    await asyncio.sleep(rng.uniform(0, 2))
    await load.cancel(rng, again.name)
    await load.watch(again)
    if rng.random() < 0.5:
        await load.delete(again.name, again.delete)


def request_id(rng: random.Random) -> str:
    """An id for a request that acts once."""
    return str(uuid.UUID(int=rng.getrandbits(128)))
