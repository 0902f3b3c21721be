"""A real server in a process of its own, spoken to with the generated stubs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import psutil

from gephyra.protos import (
    blob_service_pb2_grpc,
    dataset_service_pb2_grpc,
    meta_service_pb2_grpc,
    sampler_service_pb2,
    sampler_service_pb2_grpc,
    target_service_pb2,
    target_service_pb2_grpc,
    training_service_pb2,
    training_service_pb2_grpc,
)

# Generous: other processes may have the machine.
PATIENCE = 90.0

TINY = training_service_pb2.TrainingConfig(
    iterations=20, batch_size=16, steps=4, width=8, precondition=training_service_pb2.PRECONDITION_NONE
)


@dataclass(frozen=True)
class Stubs:
    """Every service of a server, over one channel."""

    channel: grpc.Channel
    target: target_service_pb2_grpc.TargetServiceStub
    blob: blob_service_pb2_grpc.BlobServiceStub
    dataset: dataset_service_pb2_grpc.DatasetServiceStub
    training: training_service_pb2_grpc.TrainingServiceStub
    sampler: sampler_service_pb2_grpc.SamplerServiceStub
    sampling: sampler_service_pb2_grpc.SamplingServiceStub
    meta: meta_service_pb2_grpc.MetaServiceStub

    @classmethod
    def on(cls, channel: grpc.Channel) -> Self:
        return cls(
            channel,
            target_service_pb2_grpc.TargetServiceStub(channel),
            blob_service_pb2_grpc.BlobServiceStub(channel),
            dataset_service_pb2_grpc.DatasetServiceStub(channel),
            training_service_pb2_grpc.TrainingServiceStub(channel),
            sampler_service_pb2_grpc.SamplerServiceStub(channel),
            sampler_service_pb2_grpc.SamplingServiceStub(channel),
            meta_service_pb2_grpc.MetaServiceStub(channel),
        )


class ServerProcess:
    """`python -m gephyra.service` on one data folder; may be stopped, killed and started again.

    With `tuned` it is `tests.support.tuned`, which has its fields: time limits, limits, a clock.
    """

    def __init__(self, data: Path, arguments: Sequence[str] = (), **tuned: Any) -> None:
        self._module = ["tests.support.tuned", json.dumps(tuned)] if tuned else ["gephyra.service"]
        self.data = data
        self.private = Path(tempfile.mkdtemp(prefix="gephyra-test-"))
        self._arguments = list(arguments)
        self._process: subprocess.Popen[str] | None = None
        # Kept open to the end: a test may read what a stopped server sent last.
        self._channels: list[grpc.Channel] = []
        self.start()

    def start(self) -> None:
        self.socket = socket = self.private / "s"
        socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", *self._module, "--data", str(self.data), "--socket", str(socket)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.private / "log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, *self._arguments], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == f"gephyra: serving on unix:{socket}\n", (self.private / "log").read_text()
        self._channels.append(grpc.insecure_channel(f"unix:{socket}"))
        self.stubs = Stubs.on(self._channels[-1])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[psutil.Process]:
        """The server's worker processes."""
        return psutil.Process(self.pid).children(recursive=True)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 40.0) -> int:
        """Send a signal, wait, and return the exit status."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.send_signal(number)
        status = self._process.wait(seconds)
        self._process.stdout.close()
        self._process = None
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop(signal.SIGKILL if kind else signal.SIGTERM)
        for channel in self._channels:
            channel.close()
        shutil.rmtree(self.private)


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE, what: str = "a condition") -> float:
    """Wait until `condition()`; returns the seconds that took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"{what} did not come true within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - start


def gaussian(dim: int = 3) -> target_service_pb2.TargetDefinition:
    """The standard normal of the catalogue."""
    parameter = target_service_pb2.CatalogueParameter(name="dim", int_value=dim)
    catalogue = target_service_pb2.CatalogueTarget(family="gaussian", parameters=[parameter])
    return target_service_pb2.TargetDefinition(catalogue=catalogue)


def register(
    stubs: Stubs, definition: target_service_pb2.TargetDefinition, name: str = ""
) -> target_service_pb2.Target:
    """Register a target and wait until it is decided."""
    target = stubs.target.CreateTarget(target_service_pb2.CreateTargetRequest(target_id=name, definition=definition))

    def decided() -> bool:
        nonlocal target
        target = stubs.target.GetTarget(target_service_pb2.GetTargetRequest(name=target.name))
        return target.state != target_service_pb2.Target.STATE_CHECKING

    wait_for(decided, what=f"the check of {target.name}")
    return target


def create_job(
    stubs: Stubs, target: str, config: training_service_pb2.TrainingConfig = TINY, request_id: str = ""
) -> training_service_pb2.TrainingJob:
    """Start a training job."""
    request = training_service_pb2.CreateTrainingJobRequest(target=target, config=config, request_id=request_id)
    return stubs.training.CreateTrainingJob(request)


def get_job(stubs: Stubs, name: str) -> training_service_pb2.TrainingJob:
    return stubs.training.GetTrainingJob(training_service_pb2.GetTrainingJobRequest(name=name))


def watch(stubs: Stubs, name: str, after: int = 0) -> list[training_service_pb2.TrainingEvent]:
    """Every event of a job from `after` on, to its end; bookmarks left out."""
    request = training_service_pb2.WatchTrainingJobRequest(name=name, after_sequence=after)
    events = [response.event for response in stubs.training.WatchTrainingJob(request, timeout=PATIENCE)]
    return [event for event in events if event.WhichOneof("event") != "bookmark"]


def train(stubs: Stubs, target: str, config: training_service_pb2.TrainingConfig = TINY) -> sampler_service_pb2.Sampler:
    """Train to the end; the job must succeed."""
    job = create_job(stubs, target, config)
    watch(stubs, job.name)
    job = get_job(stubs, job.name)
    assert job.state == training_service_pb2.JOB_STATE_SUCCEEDED, job.error
    return stubs.sampler.GetSampler(sampler_service_pb2.GetSamplerRequest(name=job.sampler))
