"""A real server whose workers run on a cluster."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gephyra.protos import sampler_service_pb2, training_service_pb2
from gephyra.protos import training_service_pb2 as pb
from tests.support.ray_cluster import TwoNodes
from tests.support.server import TINY, ServerProcess, create_job, gaussian, get_job, register, wait_for, watch

# A checkpoint is written every five seconds: the node is lost after the first.
EIGHT_SECONDS = training_service_pb2.TrainingConfig()
EIGHT_SECONDS.CopyFrom(TINY)
EIGHT_SECONDS.seconds = 8.0


@pytest.fixture
def server(cluster: TwoNodes, tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", ["--executor", "ray", "--ray-address", cluster.address]) as server:
        yield server
    assert workers(server) == []


def workers(server: ServerProcess) -> list[psutil.Process]:
    """Its worker processes, which are no children of it here."""
    return [process for process in psutil.process_iter() if _is_of(process, server)]


def _is_of(process: psutil.Process, server: ServerProcess) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return "gephyra.service.worker" in command and str(server.data / "artefacts") in command


def _draws(server: ServerProcess, sampler: str) -> tuple[int, str]:
    request = sampler_service_pb2.DrawSamplesRequest(sampler=sampler, count=2000, seed=3)
    trailer = list(server.stubs.sampling.DrawSamples(request, timeout=60))[-1].trailer
    return trailer.count, trailer.sha256


@pytest.mark.ray
def test_a_job_outlives_the_node_it_ran_on(server: ServerProcess, cluster: TwoNodes) -> None:
    """Its watcher sees every event once; the loss is not held against it; its sampler draws as it does elsewhere."""
    # The pool's warm worker has the head's only processor, so the job goes to the other node.
    target = register(server.stubs, gaussian(2), "some-target")
    job = create_job(server.stubs, target.name, EIGHT_SECONDS)
    events = list[pb.TrainingEvent]()
    watcher = threading.Thread(target=lambda: events.extend(watch(server.stubs, job.name)))
    watcher.start()
    wait_for(
        lambda: any((server.data / "jobs").glob("*/work-1/checkpoint-*[1-9]*.safetensors")),
        what="steps in a checkpoint",
    )
    (training,) = [process for process in workers(server) if cluster.is_on_other(process)]
    cluster.kill_other()
    try:
        wait_for(lambda: get_job(server.stubs, job.name).state == pb.JOB_STATE_QUEUED
                 or get_job(server.stubs, job.name).attempt == 2, what="the loss of the node")  # fmt: skip
        assert training.pid not in [process.pid for process in workers(server)]
    finally:
        cluster.replace_other()
    watcher.join()
    ended = get_job(server.stubs, job.name)
    assert (ended.state, ended.attempt) == (pb.JOB_STATE_SUCCEEDED, 2), ended.error
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert any("of the cluster is gone" in event.log for event in events)
    second = [event.metrics.step for event in events if event.attempt == 2 and event.metrics.step]
    assert min(second) > 0, "it began again from a checkpoint"
    drawn = _draws(server, ended.sampler)
    assert "libtorch" not in Path(f"/proc/{server.pid}/maps").read_text()
    assert server.stop() == 0
    assert workers(server) == []
    with ServerProcess(server.data) as local:
        assert _draws(local, ended.sampler) == drawn


@pytest.mark.slow
def test_a_job_outlives_the_head_of_the_cluster(tmp_path: Path) -> None:
    """All that Ray knew is lost, then the server; another one goes on from what is stored, on its own machine."""
    cluster = TwoNodes()
    try:
        server = ServerProcess(tmp_path / "data", ["--executor", "ray", "--ray-address", cluster.address])
        job = create_job(server.stubs, register(server.stubs, gaussian(2), "some-target").name, EIGHT_SECONDS)
        wait_for(lambda: any((server.data / "jobs").glob("*/work-1/checkpoint-*[1-9]*.safetensors")), what="steps")
        cluster.kill_head()
        server.stop(signal.SIGKILL)
    finally:
        cluster.close()
    wait_for(lambda: workers(server) == [], what="the end of the workers")
    with ServerProcess(server.data) as other:
        watch(other.stubs, job.name)
        found = get_job(other.stubs, job.name)
    assert (found.state, found.attempt) == (pb.JOB_STATE_SUCCEEDED, 2), found.error
