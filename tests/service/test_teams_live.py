"""One job, two workers, through a real server."""

import signal
from pathlib import Path

import psutil
import pytest

from gephyra.protos import target_service_pb2
from gephyra.protos import training_service_pb2 as pb
from tests.support.server import TINY, ServerProcess, create_job, get_job, train, wait_for, watch


def config(**changes: object) -> pb.TrainingConfig:
    """In double precision, where workers change what comes out by much less than 1e-6."""
    found = pb.TrainingConfig(precision=pb.PRECISION_FLOAT64)
    found.MergeFrom(TINY)
    found.MergeFrom(pb.TrainingConfig(**changes))  # type: ignore[arg-type]
    return found


def member(server: ServerProcess, job: str, log: str) -> psutil.Process:
    """The worker of a job that writes this log."""
    path = server.data / "jobs" / job.partition("/")[2] / log
    (found,) = [each for each in server.workers() if Path(f"/proc/{each.pid}/fd/1").resolve() == path.resolve()]
    return found


def test_two_workers_make_the_sampler_that_one_makes(server: ServerProcess, normal: target_service_pb2.Target) -> None:
    one, two = (train(server.stubs, normal.name, config(workers=workers)) for workers in (1, 2))
    assert (one.config.workers, two.config.workers) == (1, 2)
    assert two.report.log_z == pytest.approx(one.report.log_z, abs=1e-6)
    assert two.report.elbo == pytest.approx(one.report.elbo, abs=1e-6)
    assert two.report.target_evaluations == one.report.target_evaluations


@pytest.mark.chaos
def test_the_death_of_the_second_worker_begins_the_next_attempt(
    server: ServerProcess, normal: target_service_pb2.Target
) -> None:
    job = create_job(server.stubs, normal.name, config(workers=2, iterations=1000))
    wait_for(lambda: get_job(server.stubs, job.name).metrics.step > 10, what="some steps")
    first, second = (member(server, job.name, log) for log in ("attempt-1.log", "attempt-1.1.log"))
    second.send_signal(signal.SIGKILL)
    # The first does not outlive the attempt.
    wait_for(lambda: not psutil.pid_exists(first.pid), seconds=20, what="the end of the first")
    events = watch(server.stubs, job.name)
    assert events[-1].state == pb.JOB_STATE_SUCCEEDED
    assert any("killed by signal 9" in event.log for event in events)
    ended = get_job(server.stubs, job.name)
    assert (ended.attempt, ended.metrics.step) == (2, 1000)
    assert not list((server.data / "jobs" / job.name.partition("/")[2]).rglob("group-*"))


@pytest.mark.chaos
def test_a_cancel_ends_all_of_them(server: ServerProcess, normal: target_service_pb2.Target) -> None:
    job = create_job(server.stubs, normal.name, config(workers=2, iterations=10**7))
    wait_for(lambda: get_job(server.stubs, job.name).metrics.step > 10, what="some steps")
    both = [member(server, job.name, log) for log in ("attempt-1.log", "attempt-1.1.log")]
    server.stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job.name))
    events = watch(server.stubs, job.name)
    assert events[-1].state == pb.JOB_STATE_CANCELLED
    # At a checkpoint: the first heard of it, and told the other.
    assert any(event.WhichOneof("event") == "checkpoint" and event.checkpoint.step > 10 for event in events)
    wait_for(lambda: not any(each.is_running() for each in both), seconds=20, what="the end of both")
