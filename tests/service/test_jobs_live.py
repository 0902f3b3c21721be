"""Jobs survive what happens to workers and servers, and their events are ordered, unique and complete."""

import signal
import uuid
from collections.abc import Callable

import grpc
import psutil
import pytest

from gephyra.protos import sampler_service_pb2, target_service_pb2
from gephyra.protos import training_service_pb2 as pb
from tests.support.server import TINY, ServerProcess, Stubs, create_job, gaussian, get_job, register, wait_for, watch

# Long enough to be interrupted; every test ends it early or lets it finish from a checkpoint.
LONG = pb.TrainingConfig(seconds=600.0, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_NONE)
# Some seconds, with a checkpoint after five.
MEDIUM = pb.TrainingConfig(seconds=7.0, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_NONE)


def wait_for_checkpoint(stubs: Stubs, job: str, step: int = 1) -> int:
    """Wait for a checkpoint at `step` or later; returns its step."""
    for response in stubs.training.WatchTrainingJob(pb.WatchTrainingJobRequest(name=job), timeout=90):
        if response.event.WhichOneof("event") == "checkpoint" and response.event.checkpoint.step >= step:
            return response.event.checkpoint.step
    raise AssertionError("the job ended without a checkpoint")


def wait_for_state(stubs: Stubs, job: str, *states: "pb.JobState.ValueType") -> float:
    return wait_for(lambda: get_job(stubs, job).state in states, what=f"state {states} of {job}")


def states(events: list[pb.TrainingEvent]) -> list[int]:
    return [event.state for event in events if event.WhichOneof("event") == "state"]


def test_events_are_numbered_from_one_without_gaps(stubs: Stubs, sampler: sampler_service_pb2.Sampler) -> None:
    job = sampler.training_job
    events = watch(stubs, job)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert states(events) == [pb.JOB_STATE_QUEUED, pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING, pb.JOB_STATE_SUCCEEDED]
    assert events[-1].state == pb.JOB_STATE_SUCCEEDED
    assert any(event.WhichOneof("event") == "metrics" for event in events)
    # Replayed from anywhere it is the same, and ends.
    for after in (1, len(events) // 2, len(events)):
        assert watch(stubs, job, after) == events[after:]


def test_a_finished_job_says_all_about_itself(stubs: Stubs, sampler: sampler_service_pb2.Sampler) -> None:
    job = get_job(stubs, sampler.training_job)
    assert (job.sampler, job.target, sampler.target, sampler.dim) == (sampler.name, sampler.target, job.target, 3)
    assert sampler.config == job.config
    assert (job.config.iterations, job.config.batch_size) == (TINY.iterations, TINY.batch_size)
    assert job.config.method == pb.METHOD_DBS
    assert sampler.report.paths == 16384
    assert sampler.report.times.startup_seconds > 0
    assert job.create_time.ToMicroseconds() <= job.start_time.ToMicroseconds() < job.end_time.ToMicroseconds()
    assert job.metrics.step == TINY.iterations


def test_a_running_job_is_cancelled_within_ten_seconds(
    server: ServerProcess, normal: target_service_pb2.Target
) -> None:
    job = create_job(server.stubs, normal.name, LONG)
    wait_for_state(server.stubs, job.name, pb.JOB_STATE_RUNNING)
    waiting, queued = (create_job(server.stubs, normal.name, LONG) for _ in range(2))
    # One that has not begun is cancelled at once.
    request = pb.CancelTrainingJobRequest(name=queued.name)
    assert server.stubs.training.CancelTrainingJob(request).state == pb.JOB_STATE_CANCELLED
    workers = {worker.pid for worker in server.workers()}

    request = pb.CancelTrainingJobRequest(name=job.name, request_id=str(uuid.uuid4()))
    assert server.stubs.training.CancelTrainingJob(request).state == pb.JOB_STATE_CANCELLING
    assert wait_for_state(server.stubs, job.name, pb.JOB_STATE_CANCELLED) < 10
    wait_for(lambda: any(not psutil.pid_exists(pid) for pid in workers), seconds=10, what="the worker's end")
    assert states(watch(server.stubs, job.name))[-2:] == [pb.JOB_STATE_CANCELLING, pb.JOB_STATE_CANCELLED]
    # Again, and with the same id, it stays what it is.
    assert server.stubs.training.CancelTrainingJob(request).state == pb.JOB_STATE_CANCELLED

    # The next one gets its turn; cancelled at its imports it ends at once.
    wait_for_state(server.stubs, waiting.name, pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING)
    server.stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=waiting.name))
    assert wait_for_state(server.stubs, waiting.name, pb.JOB_STATE_CANCELLED) < 10


def test_a_job_that_kills_every_worker_fails(server: ServerProcess, normal: target_service_pb2.Target) -> None:
    others = {worker.pid for worker in server.workers()}
    job = create_job(server.stubs, normal.name, LONG)
    killed: set[int] = set()

    def failed() -> bool:
        for worker in server.workers():
            if worker.pid not in killed | others:
                worker.kill()
                killed.add(worker.pid)
        return get_job(server.stubs, job.name).state == pb.JOB_STATE_FAILED

    wait_for(failed, what="the failure of the job")
    job = get_job(server.stubs, job.name)
    assert (job.attempt, len(killed)) == (4, 4)
    assert "killed by signal 9" in job.error.message
    assert b"WORKER_DIED" in job.error.details[0].value


def kill_training_worker(server: ServerProcess, serving: set[int]) -> None:
    (worker,) = (worker for worker in server.workers() if worker.pid not in serving)
    worker.kill()


@pytest.mark.chaos
def test_a_job_survives_the_death_of_its_worker_and_of_the_server(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    target = register(server.stubs, gaussian(), "survivor")
    serving = {worker.pid for worker in server.workers()}
    done = create_job(server.stubs, target.name)
    watch(server.stubs, done.name)
    job, queued = (create_job(server.stubs, target.name, config) for config in (MEDIUM, TINY))
    step = wait_for_checkpoint(server.stubs, job.name)

    kill_training_worker(server, serving)
    wait_for(lambda: get_job(server.stubs, job.name).attempt == 2, what="the second attempt")
    wait_for_state(server.stubs, job.name, pb.JOB_STATE_RUNNING)
    unchecked = server.stubs.target.CreateTarget(
        target_service_pb2.CreateTargetRequest(target_id="unchecked", definition=gaussian(5))
    )
    workers = server.workers()
    assert len(workers) == 2
    server.stop(signal.SIGKILL)
    wait_for(lambda: not any(worker.is_running() for worker in workers), seconds=10, what="the workers' end")

    server.start()
    stubs = server.stubs
    assert stubs.target.GetTarget(target_service_pb2.GetTargetRequest(name=target.name)) == target
    sampler = get_job(stubs, done.name).sampler
    assert stubs.sampler.GetSampler(sampler_service_pb2.GetSamplerRequest(name=sampler)).training_job == done.name
    assert register(stubs, gaussian(5), "unchecked").uid == unchecked.uid
    assert get_job(stubs, queued.name).state == pb.JOB_STATE_QUEUED
    events = watch(stubs, job.name)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    attempt = [pb.JOB_STATE_QUEUED, pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING]
    assert states(events) == [*attempt, *attempt, *attempt, pb.JOB_STATE_SUCCEEDED]
    assert any("killed by signal 9" in event.log for event in events)
    resumed = [e.metrics.step for e in events if e.attempt > 1 and e.metrics.stage == "train"]
    assert resumed[0] > step
    # The steps of all attempts, not of the last one.
    assert get_job(stubs, job.name).metrics.step > step


@pytest.mark.chaos
def test_a_stopped_server_puts_its_job_back_and_goes_on_later(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    target = register(server.stubs, gaussian())
    job = create_job(server.stubs, target.name, LONG)
    wait_for(lambda: get_job(server.stubs, job.name).metrics.step > 0, what="a first step")
    before = get_job(server.stubs, job.name).metrics.step
    follower = server.stubs.training.WatchTrainingJob(pb.WatchTrainingJobRequest(name=job.name))
    workers = server.workers()
    assert server.stop(signal.SIGINT, seconds=30) == 0
    assert not any(worker.is_running() for worker in workers)
    # The watcher saw the job go back to the queue, and then an end that says "come again".
    seen: list[pb.TrainingEvent] = []
    with pytest.raises(grpc.RpcError) as caught:
        seen.extend(response.event for response in follower)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

    server.start()
    assert get_job(server.stubs, job.name).metrics.step >= before
    assert wait_for_checkpoint(server.stubs, job.name) >= before
    wait_for_state(server.stubs, job.name, pb.JOB_STATE_RUNNING)
    events = server.stubs.training.WatchTrainingJob(pb.WatchTrainingJobRequest(name=job.name))
    first_states = [next(events).event.state for _ in range(3)]
    assert first_states == [pb.JOB_STATE_QUEUED, pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING]
    events.cancel()
    assert get_job(server.stubs, job.name).attempt == 2
