"""SIGTERM ends a server within 30 s and loses nothing (P11); a second one ends it at once."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gephyra.protos import blob_service_pb2, dataset_service_pb2, sampler_service_pb2, target_service_pb2
from gephyra.protos import training_service_pb2 as pb
from tests.chaos.host import Host
from tests.support.refusal import refused
from tests.support.server import Stubs, create_job, gaussian, get_job, register, wait_for

LONG = pb.TrainingConfig(seconds=600.0, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_NONE)
WORKER_SECONDS = 5.0


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A server that waits five seconds for its workers, not twenty."""
    host = Host(tmp_path, ("tests.chaos.impatient", "60"))
    host.start()
    yield host
    host.close()


def _busy(host: Host, stubs: Stubs) -> tuple[str, psutil.Process]:
    """A job at work, and its worker stopped, so that the drain takes as long as it may."""
    register(stubs, gaussian(2), "some-target")
    job = create_job(stubs, "targets/some-target", LONG).name
    wait_for(lambda: get_job(stubs, job).metrics.step > 0, what="a first step")
    # The newest one: a server starts one for checks before.
    worker = max(host.workers(), key=psutil.Process.create_time)
    worker.send_signal(signal.SIGSTOP)
    return job, worker


def _health(channel: grpc.Channel) -> Any:
    """The published types know nothing of Watch."""
    return health_pb2_grpc.HealthStub(channel)


@pytest.mark.chaos
def test_a_draining_server_says_so_refuses_and_ends_in_time(host: Host) -> None:
    with grpc.insecure_channel(host.address) as channel:
        stubs, health = Stubs.on(channel), _health(channel)
        job, _ = _busy(host, stubs)
        seen = health.Watch(health_pb2.HealthCheckRequest())
        assert next(seen).status == health_pb2.HealthCheckResponse.SERVING
        started = time.monotonic()
        psutil.Process(host.pid).terminate()
        assert next(seen).status == health_pb2.HealthCheckResponse.NOT_SERVING
        upload, bring = blob_service_pb2.UploadBlobRequest(), sampler_service_pb2.ImportSamplerRequest()
        calls: list[Callable[[], Any]] = [
            lambda: create_job(stubs, "targets/some-target", LONG),
            lambda: stubs.target.CreateTarget(target_service_pb2.CreateTargetRequest(definition=gaussian(3))),
            lambda: stubs.dataset.CreateDataset(dataset_service_pb2.CreateDatasetRequest()),
            lambda: stubs.blob.UploadBlob(iter([upload])),
            lambda: stubs.sampler.ImportSampler(iter([bring])),
        ]
        for call in calls:
            refusal = refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
            assert refusal.retry_seconds == 5
        # What only reads, or ends work, is still served.
        assert get_job(stubs, job).name == job
        assert host.wait(30) == 0
        assert time.monotonic() - started < WORKER_SECONDS + 10
    assert host.workers() == []
    host.start()
    with grpc.insecure_channel(host.address) as channel:
        stubs = Stubs.on(channel)
        wait_for(lambda: get_job(stubs, job).attempt == 2, what="the second attempt")


def test_a_drain_loses_no_step_of_a_worker_that_listens(host: Host) -> None:
    with grpc.insecure_channel(host.address) as channel:
        stubs = Stubs.on(channel)
        job, worker = _busy(host, stubs)
        worker.send_signal(signal.SIGCONT)
        step = get_job(stubs, job).metrics.step
        assert host.stop(30) == 0
    saved = [int(path.stem.rpartition("-")[2]) for path in host.data.glob("jobs/*/work-1/checkpoint-*.safetensors")]
    assert max(saved) >= step


@pytest.mark.chaos
def test_a_second_signal_ends_it_at_once(host: Host) -> None:
    with grpc.insecure_channel(host.address) as channel:
        _, worker = _busy(host, Stubs.on(channel))
    process = psutil.Process(host.pid)
    process.terminate()
    wait_for(lambda: "stopping" in host.log.read_text(), what="the beginning of the drain")
    started = time.monotonic()
    process.terminate()
    assert host.wait(5) == 130
    assert time.monotonic() - started < WORKER_SECONDS / 2
    # The kernel ends workers with their server, stopped ones too.
    wait_for(lambda: not worker.is_running() and host.workers() == [], seconds=5, what="the end of the workers")
