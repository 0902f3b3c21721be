"""A job whose worker and server were killed makes the sampler that it would have made, bit for bit (P6, P7)."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest

from gephyra.protos import training_service_pb2 as pb
from tests.chaos.host import Host
from tests.support.server import Stubs, gaussian, get_job, register, wait_for, watch
from tests.support.tables import create, raw
from tests.support.weights import weights

# Longer than the five seconds between two checkpoints, on any machine of today.
BRIDGE = pb.TrainingConfig(iterations=4000, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_GAUSSIAN)
MODEL = pb.DenoisingConfig(iterations=6000, batch_size=256, width=64, blocks=2, validation=0.0)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    host.start()
    yield host
    host.close()


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["bridge", "model"])
def test_a_job_that_was_killed_makes_the_same_weights(host: Host, kind: str) -> None:
    with grpc.insecure_channel(host.address) as channel:
        stubs = Stubs.on(channel)
        register(stubs, gaussian(2), "some-target")
        rows = np.random.Generator(np.random.Philox(0)).standard_normal((2000, 3))
        dataset = create(stubs, raw(rows)).name
        request = pb.CreateTrainingJobRequest(target="targets/some-target", config=BRIDGE)
        if kind == "model":
            request = pb.CreateTrainingJobRequest(dataset=dataset, denoising=MODEL)
        whole = stubs.training.CreateTrainingJob(request).name
        watch(stubs, whole)
        killed = stubs.training.CreateTrainingJob(request).name
        wait_for(lambda: _saved(host, killed) > 0, what="a checkpoint")
        max(host.workers(), key=psutil.Process.create_time).kill()
        wait_for(lambda: get_job(stubs, killed).attempt == 2, what="the second attempt")
        wait_for(lambda: get_job(stubs, killed).state == pb.JOB_STATE_RUNNING, what="its start")
    host.kill()
    host.start()
    with grpc.insecure_channel(host.address) as channel:
        watch(Stubs.on(channel), killed)
        jobs = [get_job(Stubs.on(channel), name) for name in (whole, killed)]
    assert [job.attempt for job in jobs] == [1, 3]
    first, second = (weights(host.data, job.sampler) for job in jobs)
    assert first == second


def _saved(host: Host, job: str) -> int:
    """The step of the newest checkpoint."""
    files = host.data.glob(f"jobs/{job.partition('/')[2]}/work-*/checkpoint-*.safetensors")
    return max((int(path.stem.partition("-")[2]) for path in files), default=0)
