"""Pause, resume, retry and delete on a real server: exact, and nothing is left behind (P6, P8)."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc
import psutil
import pytest

from gephyra.protos import meta_service_pb2, sampler_service_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.service.crash import Place
from tests.chaos.host import Host
from tests.support.refusal import refused
from tests.support.server import ServerProcess, Stubs, create_job, gaussian, get_job, register, wait_for, watch
from tests.support.weights import weights

LONG = pb.TrainingConfig(seconds=600.0, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_NONE)
SOME = pb.TrainingConfig(iterations=800, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_NONE)
_Q, _P, _R, _PAUSED = pb.JOB_STATE_QUEUED, pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING, pb.JOB_STATE_PAUSED


def pause(stubs: Stubs, job: str) -> pb.TrainingJob:
    return stubs.training.PauseTrainingJob(pb.PauseTrainingJobRequest(name=job))


def resume(stubs: Stubs, job: str) -> pb.TrainingJob:
    return stubs.training.ResumeTrainingJob(pb.ResumeTrainingJobRequest(name=job))


def cancel(stubs: Stubs, job: str) -> pb.TrainingJob:
    return stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job))


def wait_for_state(stubs: Stubs, job: str, state: int, seconds: float = 60) -> float:
    return wait_for(lambda: get_job(stubs, job).state == state, seconds, f"state {state} of {job}")


def pause_in_the_middle(stubs: Stubs, job: str) -> int:
    """Pause a job that has made some steps; the step at which it stopped."""
    for response in stubs.training.WatchTrainingJob(pb.WatchTrainingJobRequest(name=job), timeout=60):
        if response.event.metrics.step > 0:
            break
    assert pause(stubs, job).pause_requested
    wait_for_state(stubs, job, _PAUSED)
    assert not get_job(stubs, job).pause_requested
    return get_job(stubs, job).metrics.step


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_a_paused_and_a_retried_job_make_what_an_undisturbed_one_makes(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    target = register(server.stubs, gaussian(), "some-target").name
    whole, paused, failed = (create_job(server.stubs, target, SOME).name for _ in range(3))
    watch(server.stubs, whole)
    for job in (paused, failed):
        assert 0 < pause_in_the_middle(server.stubs, job) < SOME.iterations
    wait_for(lambda: len(server.workers()) <= 1, what="the end of the training workers")
    resume(server.stubs, paused)
    events = watch(server.stubs, paused)
    told = [event.state for event in events if event.WhichOneof("event") == "state"]
    assert told == [_Q, _P, _R, _PAUSED, _Q, _P, _R, pb.JOB_STATE_SUCCEEDED]
    # A failure of the third, as if its worker had died too often.
    assert server.stop() == 0
    with closing(sqlite3.connect(server.data / "gephyra.sqlite3")) as database, database:
        name = failed.partition("/")[2]
        database.execute("UPDATE jobs SET state = 'failed', end_time = 1 WHERE name = ?", [name])
    server.start()
    assert list((server.data / "jobs" / name).glob("kept/checkpoint-*"))
    again = server.stubs.training.RetryTrainingJob(pb.RetryTrainingJobRequest(name=failed))
    assert (again.retry_of, again.config, again.target) == (failed, get_job(server.stubs, failed).config, target)
    server.stubs.training.DeleteTrainingJob(pb.DeleteTrainingJobRequest(name=failed))
    first = next(event.metrics for event in watch(server.stubs, again.name) if event.metrics.stage == "train")
    assert first.step > 1
    assert not (server.data / "jobs" / name).exists()
    made = [get_job(server.stubs, job).sampler for job in (whole, paused, again.name)]
    assert len({weights(server.data, sampler) for sampler in made}) == 1
    # A deleted job's sampler stays.
    server.stubs.training.DeleteTrainingJob(pb.DeleteTrainingJobRequest(name=again.name))
    server.stubs.sampler.GetSampler(sampler_service_pb2.GetSamplerRequest(name=made[2]))
    assert get_job_names(server.stubs) == {whole, paused}


def get_job_names(stubs: Stubs) -> set[str]:
    listed = stubs.training.ListTrainingJobs(pb.ListTrainingJobsRequest())
    return {job.name for job in listed.training_jobs}


@pytest.mark.chaos
def test_a_pause_outlives_the_server_that_took_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    try:
        host.start()
        with grpc.insecure_channel(host.address) as channel:
            stubs = Stubs.on(channel)
            target = register(stubs, gaussian(2), "some-target").name
            job = create_job(stubs, target, LONG).name
            wait_for_state(stubs, job, _R)
            host.arm(Place.PAUSE_STORED)
            assert refused_by_nobody(lambda: pause(stubs, job))
            host.wait()
        host.start()
        with grpc.insecure_channel(host.address) as channel:
            stubs = Stubs.on(channel)
            wait_for_state(stubs, job, _PAUSED, 10)
            time.sleep(0.5)
            assert get_job(stubs, job).state == _PAUSED
            # What it left on the disk is gone with it.
            assert list(host.data.glob("jobs/*/work-*"))
            assert cancel(stubs, job).state == pb.JOB_STATE_CANCELLED
            assert host.litter() == []
    finally:
        host.close()


def refused_by_nobody(call: Callable[[], object]) -> bool:
    """Whether the server died before it answered."""
    try:
        call()
    except grpc.RpcError:
        return True
    return False


@pytest.mark.chaos
def test_everything_is_free_after_orders_at_any_time(serve: Callable[..., ServerProcess], tmp_path: Path) -> None:
    """Two slots and no GPU: jobs are paused, taken back, cancelled while they begin and while they run."""
    server = serve(tmp_path / "data", "--cpus", "2", "--gpus", "", "--queued-jobs", "2")
    stubs = server.stubs
    limits = stubs.meta.GetServerInfo(meta_service_pb2.GetServerInfoRequest()).limits
    assert (limits.max_running_jobs, limits.cpu_slots, limits.gpu_slots, limits.max_queued_jobs) == (2, 2, 0, 2)
    target = register(stubs, gaussian(2), "some-target").name
    serving = {worker.pid for worker in server.workers()}
    with_gpu = pb.TrainingConfig(seconds=600.0, device=pb.DEVICE_CUDA)
    assert refused(lambda: create_job(stubs, target, with_gpu)).reason == "JOB_NEVER_FITS"
    first, second = (create_job(stubs, target, LONG).name for _ in range(2))
    wait_for(lambda: {get_job(stubs, job).state for job in (first, second)} <= {_P, _R}, what="two jobs at work")
    third, fourth = (create_job(stubs, target, LONG).name for _ in range(2))
    full = refused(lambda: create_job(stubs, target, LONG))
    assert (full.code, full.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert pause(stubs, third).state == _PAUSED
    # At its imports, or at work: it pauses and gives way, and a pause that is taken back leaves it in the queue.
    pause(stubs, first)
    wait_for_state(stubs, first, _PAUSED)
    wait_for(lambda: get_job(stubs, fourth).state in (_P, _R), what="the turn of the next job")
    wait_for_state(stubs, second, _R)
    environments = [worker.environ() for worker in server.workers() if worker.pid not in serving]
    assert {environment["CUDA_VISIBLE_DEVICES"] for environment in environments} == {""}
    pause(stubs, second)
    assert not resume(stubs, second).pause_requested
    # A cancel overrides a pause and is as quick.
    pause(stubs, fourth)
    cancel(stubs, fourth)
    assert wait_for_state(stubs, fourth, pb.JOB_STATE_CANCELLED, 20) < 20
    for job in (first, second, third):
        cancel(stubs, job)
        assert wait_for_state(stubs, job, pb.JOB_STATE_CANCELLED, 20) < 20
    wait_for(lambda: {worker.pid for worker in server.workers()} <= serving, 20, "the end of every worker")
    assert not list((server.data / "jobs").glob("*/work-*"))
    # Both slots are there.
    more = [create_job(stubs, target, LONG).name for _ in range(2)]
    wait_for(lambda: all(get_job(stubs, job).state in (_P, _R) for job in more), 20, "two free slots")
    assert len(psutil.Process(server.pid).children(recursive=True)) <= len(serving) + 2
