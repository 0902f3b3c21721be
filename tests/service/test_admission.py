"""How many calls are served at once: the next one is refused at once, with a time to come back, and costs nothing."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gephyra.protos import (
    blob_service_pb2,
    meta_service_pb2,
    sampler_service_pb2,
    target_service_pb2,
    training_service_pb2,
)
from gephyra.service.admission import Admission, Kind
from gephyra.service.config import Limits
from gephyra.service.errors import DeadlineExceeded, Reason, ResourceExhausted
from gephyra.service.metrics import Metrics
from tests.support.overload import overload
from tests.support.refusal import refused
from tests.support.server import ServerProcess, Stubs, create_job, gaussian, register, train, wait_for

GET, DRAW = "gephyra.v1.TargetService/GetTarget", "gephyra.v1.SamplingService/DrawSamples"
LIMITS = {"max_watches": 2, "max_streams": 3, "max_work_calls": 4}
ENDLESS = training_service_pb2.TrainingConfig(
    iterations=10**7, batch_size=16, steps=4, width=8, precondition=training_service_pb2.PRECONDITION_NONE
)


async def test_one_kind_of_call_does_not_take_the_places_of_another() -> None:
    metrics = Metrics()
    admission = Admission(Limits(max_record_calls=1, max_streams=2), 60.0, metrics)
    async with admission.enter(DRAW), admission.enter(DRAW):
        with pytest.raises(ResourceExhausted) as caught:
            async with admission.enter(DRAW):
                pass
        assert caught.value.reason == Reason.SERVER_BUSY
        assert caught.value.metadata == {"limit": "max_streams", "most": "2"}
        assert caught.value.retry_seconds > 0
        async with admission.enter(GET), admission.enter("grpc.health.v1.Health/Check"):
            pass
    async with admission.enter(DRAW):
        pass
    assert metrics.registry.get_sample_value("gephyra_rpc_refused_total", {"kind": Kind.STREAM.value}) == 1


async def test_a_place_is_free_again_whatever_became_of_the_call() -> None:
    admission = Admission(Limits(max_record_calls=1), 0.05, Metrics())
    with pytest.raises(ZeroDivisionError):
        async with admission.enter(GET):
            raise ZeroDivisionError
    with pytest.raises(DeadlineExceeded) as late:
        async with admission.enter(GET):
            await asyncio.sleep(10)
    assert late.value.reason == Reason.CALL_TIMEOUT
    with pytest.raises(TimeoutError, match="another"):
        async with admission.enter(GET):
            raise TimeoutError("another")
    task = asyncio.create_task(_hold(admission))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with admission.enter(GET):
        pass


async def _hold(admission: Admission) -> None:
    async with admission.enter(DRAW):
        await asyncio.sleep(10)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with few places."""
    folder = tmp_path_factory.mktemp("small") / "data"
    with ServerProcess(folder, ["--draw-cache", "0"], limits=LIMITS) as server:
        yield server


@pytest.fixture(scope="module")
def trained(small: ServerProcess) -> sampler_service_pb2.Sampler:
    return train(small.stubs, register(small.stubs, gaussian(), "normal").name)


def busy(limit: str, call: Any) -> None:
    """The call is refused for this limit, at once."""
    began = time.monotonic()
    refusal = refused(call)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY")
    assert refusal.metadata == {"limit": limit, "most": str(LIMITS[limit])}
    assert refusal.retry_seconds > 0
    # Generous: nobody else has the server, but perhaps the machine.
    assert time.monotonic() - began < 5


def test_the_limits_are_told(small: ServerProcess) -> None:
    told = small.stubs.meta.GetServerInfo(meta_service_pb2.GetServerInfoRequest()).limits
    assert {name: getattr(told, name) for name in LIMITS} == LIMITS
    assert (told.max_record_calls, told.keep_events) == (256, 10_000)


@pytest.mark.slow
def test_watches_have_places_of_their_own(small: ServerProcess, trained: sampler_service_pb2.Sampler) -> None:
    stubs = small.stubs
    job = create_job(stubs, trained.target, ENDLESS)
    request = training_service_pb2.WatchTrainingJobRequest(name=job.name)
    watches = [stubs.training.WatchTrainingJob(request) for _ in range(LIMITS["max_watches"])]
    for each in watches:
        next(each)
    busy("max_watches", lambda: next(stubs.training.WatchTrainingJob(request)))
    # Others do not notice.
    stubs.target.GetTarget(target_service_pb2.GetTargetRequest(name=trained.target))
    assert list(stubs.sampling.DrawSamples(sampler_service_pb2.DrawSamplesRequest(sampler=trained.name, count=5)))
    watches.pop().cancel()

    def admitted() -> bool:
        try:
            watches.append(stubs.training.WatchTrainingJob(request))
            next(watches[-1])
        except grpc.RpcError:
            return False
        return True

    wait_for(admitted, what="a free place")
    stubs.training.CancelTrainingJob(training_service_pb2.CancelTrainingJobRequest(name=job.name))
    for each in watches:
        each.cancel()


@pytest.mark.slow
def test_streams_that_nobody_reads_keep_their_places_and_no_more(
    small: ServerProcess, trained: sampler_service_pb2.Sampler
) -> None:
    stubs = small.stubs
    request = sampler_service_pb2.DrawSamplesRequest(sampler=trained.name, count=10**6)
    streams = [stubs.sampling.DrawSamples(request) for _ in range(LIMITS["max_streams"])]
    for each in streams:
        next(each)
    busy("max_streams", lambda: next(stubs.sampling.DrawSamples(request)))
    busy("max_streams", lambda: stubs.blob.UploadBlob(iter([blob_service_pb2.UploadBlobRequest(data=b"x")])))
    # The published types of this stub know no methods.
    health: Any = health_pb2_grpc.HealthStub(stubs.channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    for each in streams:
        each.cancel()


@pytest.mark.slow
def test_targets_that_wait_for_their_check_are_counted(
    small: ServerProcess, trained: sampler_service_pb2.Sampler
) -> None:
    def create(stubs: Stubs, dim: int) -> None:
        stubs.target.CreateTarget(target_service_pb2.CreateTargetRequest(definition=gaussian(dim)))

    def flood() -> None:
        for dim in range(10, 200):
            create(small.stubs, dim)

    # The one worker has something else to do.
    estimate = sampler_service_pb2.EstimateEvidenceRequest(sampler=trained.name, count=10**6)
    long = small.stubs.sampling.EstimateEvidence.future(estimate)
    busy("max_work_calls", flood)
    long.cancel()
    wait_for(lambda: refused_none(lambda: create(small.stubs, 9)), what="a free place")


def refused_none(call: Any) -> bool:
    try:
        call()
    except grpc.RpcError:
        return False
    return True


@pytest.mark.slow
def test_overload_is_refused_and_passes(small: ServerProcess, trained: sampler_service_pb2.Sampler) -> None:
    """The logic of the acceptance test; its times, only when the machine is quiet."""
    figures = overload(small, trained, factor=10, seconds=3, count=4000)
    print(figures)
    assert figures.other == {}
    assert figures.served
    assert len(figures.refused) > len(figures.served)
    assert figures.health
    assert figures.unhealthy == 0
    assert figures.rss_late < figures.rss_early + 64
