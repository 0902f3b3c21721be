"""Every named place is one that a server comes by, and one where a process dies if a test asks for it."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from gephyra.protos import dataset_service_pb2, sampler_service_pb2, target_service_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.service.crash import VARIABLE, Place
from tests.chaos.host import Host
from tests.support.server import TINY, Stubs, create_job, gaussian, register, train, wait_for, watch
from tests.support.tables import create, raw

LONG = pb.TrainingConfig(seconds=600.0, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_NONE)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    host.start()
    yield host
    host.close()


def test_every_place_is_passed(host: Host) -> None:
    with grpc.insecure_channel(host.address) as channel:
        stubs = Stubs.on(channel)
        register(stubs, gaussian(2), "some-target")
        sampler = train(stubs, "targets/some-target")
        dataset = create(stubs, raw(np.arange(40.0).reshape(20, 2)))
        _bring_in(stubs, sampler.name)
        cancelled = create_job(stubs, "targets/some-target", LONG)
        stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=cancelled.name))
        watch(stubs, cancelled.name)
        _order_about(stubs, cancelled.name)
        for each in stubs.sampler.ListSamplers(sampler_service_pb2.ListSamplersRequest()).samplers:
            stubs.sampler.DeleteSampler(sampler_service_pb2.DeleteSamplerRequest(name=each.name))
        stubs.dataset.DeleteDataset(dataset_service_pb2.DeleteDatasetRequest(name=dataset.name))
        stubs.target.DeleteTarget(target_service_pb2.DeleteTargetRequest(name="targets/some-target"))
    assert host.passed() == {str(place) for place in Place}


def _order_about(stubs: Stubs, cancelled: str) -> None:
    again = stubs.training.RetryTrainingJob(pb.RetryTrainingJobRequest(name=cancelled)).name
    stubs.training.PauseTrainingJob(pb.PauseTrainingJobRequest(name=again))
    stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=again))
    watch(stubs, again)
    for name in (cancelled, again):
        stubs.training.DeleteTrainingJob(pb.DeleteTrainingJobRequest(name=name))


def _bring_in(stubs: Stubs, sampler: str) -> None:
    request = sampler_service_pb2.ExportSamplerRequest(name=sampler)
    content = b"".join(answer.data for answer in stubs.sampler.ExportSampler(request))
    header = sampler_service_pb2.ImportSamplerRequest.Header(request_id=str(uuid.uuid4()))
    pb_import = sampler_service_pb2.ImportSamplerRequest
    stubs.sampler.ImportSampler(iter([pb_import(header=header), pb_import(data=content)]))


def test_a_trap_kills_one_process_once_and_only_there(tmp_path: Path) -> None:
    (tmp_path / "passed").mkdir()
    (tmp_path / Place.JOB_STORED).touch()
    code = (
        "from gephyra.service.crash import Place, crash_point as point; point(Place.JOB_CLAIMED); print(1, flush=True)"
    )
    command = [sys.executable, "-c", f"{code}; point(Place.JOB_STORED); print(2)"]

    def run(**environment: str) -> tuple[int, str]:
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert run() == (0, "1\n2\n")
    assert run(**{VARIABLE: str(tmp_path)}) == (-signal.SIGKILL, "1\n")
    assert run(**{VARIABLE: str(tmp_path)}) == (0, "1\n2\n")
    assert {path.name for path in (tmp_path / "passed").iterdir()} == {Place.JOB_CLAIMED, Place.JOB_STORED}


def test_what_a_job_that_ended_left_behind_is_swept_at_the_next_start(host: Host) -> None:
    """Seed 4 of the campaigns found the folder of a job whose server died between its end and the cleaning."""
    with grpc.insecure_channel(host.address) as channel:
        stubs = Stubs.on(channel)
        register(stubs, gaussian(2), "some-target")
        host.arm(Place.JOB_ENDED)
        create_job(stubs, "targets/some-target", TINY)
        wait_for(lambda: not host.alive, what="the death of the server")
    assert host.litter()
    host.start()
    assert not host.litter()
