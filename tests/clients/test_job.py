"""Jobs: a watch without gaps or repeats across broken streams, results, failures, and Ctrl-C."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gephyra.clients import errors
from gephyra.clients.aio import AsyncClient
from gephyra.clients.sync import Client, Job
from gephyra.clients.words import JobState
from gephyra.protos import sampler_service_pb2, training_service_pb2
from tests.clients.fake import FakeServer, gone, refuse, status

pb = training_service_pb2
NAME = "trainingJobs/some-job"


class FakeJob:
    """A job with a fixed history, served with breaks where the test wants them."""

    def __init__(self, fake: FakeServer, *, events: int = 12, final: int = pb.JOB_STATE_SUCCEEDED) -> None:
        self.fake = fake
        self.breaks: list[int] = []
        self.oldest = 1
        self.final = final
        self.events = [self._event(sequence) for sequence in range(1, events)]
        self.events.append(pb.TrainingEvent(sequence=events, state=pb.JobState.ValueType(final)))
        fake.script["GetTrainingJob"] = lambda request, context: self.record()
        fake.script["WatchTrainingJob"] = self.watch
        fake.script["GetSampler"] = lambda request, context: sampler_service_pb2.Sampler(name=request.name)

    def record(self) -> pb.TrainingJob:
        error = status(grpc.StatusCode.FAILED_PRECONDITION, "it diverged", "NON_FINITE_LOG_DENSITY")
        failed = self.final == pb.JOB_STATE_FAILED
        return pb.TrainingJob(
            name=NAME,
            state=pb.JobState.ValueType(self.final),
            sampler="samplers/some-sampler",
            error=error if failed else None,
        )

    def watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[pb.WatchTrainingJobResponse]:
        if request.after_sequence + 1 < self.oldest:
            metadata = {"oldest_sequence": str(self.oldest)}
            refuse(context, grpc.StatusCode.OUT_OF_RANGE, "compacted", "EVENTS_COMPACTED", **metadata)
        rest = self.events[request.after_sequence :]
        if self.breaks:
            yield from (pb.WatchTrainingJobResponse(event=event) for event in rest[: self.breaks.pop()])
            # A bookmark carries the latest sequence and is no event.
            yield pb.WatchTrainingJobResponse(event=pb.TrainingEvent(sequence=len(self.events), bookmark=pb.Bookmark()))
            gone(context)
        yield from (pb.WatchTrainingJobResponse(event=event) for event in rest)

    @staticmethod
    def _event(sequence: int) -> pb.TrainingEvent:
        if sequence == 1:
            return pb.TrainingEvent(sequence=1, state=pb.JOB_STATE_RUNNING)
        if sequence == 2:
            return pb.TrainingEvent(sequence=2, log="loading")
        if sequence % 5 == 0:
            return pb.TrainingEvent(sequence=sequence, checkpoint=pb.CheckpointSaved(step=sequence))
        return pb.TrainingEvent(sequence=sequence, metrics=pb.TrainingMetrics(step=sequence, fraction=sequence / 20))


def running(client: Client, fake: FakeServer) -> Job:
    """The handle of a job that was just made."""
    fake.script["CreateTrainingJob"] = lambda request, context: pb.TrainingJob(name=NAME, state=pb.JOB_STATE_QUEUED)
    return client.train("some-target")


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(breaks=st.lists(st.integers(0, 12), max_size=4), after=st.integers(0, 12))
def test_each_event_comes_once_and_in_order(fake: FakeServer, client: Client, breaks: list[int], after: int) -> None:
    FakeJob(fake).breaks = list(breaks)
    events = list(running(client, fake).watch(after))
    assert [event.sequence for event in events] == list(range(after + 1, 13))


def test_each_kind_of_event_is_told_apart(fake: FakeServer, client: Client) -> None:
    FakeJob(fake)
    job = running(client, fake)
    events = list(job.watch())
    assert events[0].state is JobState.RUNNING
    assert events[1].log == "loading"
    assert events[4].checkpoint_step == 5
    assert events[-1].state is JobState.SUCCEEDED
    assert job.state is JobState.SUCCEEDED
    assert all(set(event.to_json()) - {"sequence", "attempt", "time"} for event in events)


def test_a_watch_goes_on_from_the_oldest_event_that_is_left(
    fake: FakeServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    job = FakeJob(fake)
    job.oldest, job.breaks = 6, [3, 2]
    assert [event.sequence for event in running(client, fake).watch()] == list(range(6, 13))
    assert caplog.messages == [f"the events 1 to 5 of {NAME} are not kept any more"]


def test_what_a_late_reader_was_spared_is_accounted_for(fake: FakeServer, client: Client) -> None:
    job = FakeJob(fake)
    del job.events[5:8]
    job.events[5].coalesced = 3
    events = list(running(client, fake).watch())
    assert [(event.sequence, event.coalesced) for event in events[4:7]] == [(5, 0), (9, 3), (10, 0)]


@pytest.mark.parametrize(("sequence", "coalesced"), [(6, 0), (8, 0), (8, 2), (5, 0), (1, 0), (8, -1)])
def test_a_gap_or_a_repetition_is_an_error(fake: FakeServer, client: Client, sequence: int, coalesced: int) -> None:
    job = FakeJob(fake)
    job.events[6] = pb.TrainingEvent(sequence=sequence, coalesced=coalesced, metrics=pb.TrainingMetrics(step=1))
    with pytest.raises(errors.DataLoss, match=f"after event 6 came {sequence}") as caught:
        list(running(client, fake).watch())
    assert caught.value.reason == "EVENTS_MISSING"


def test_an_event_of_a_kind_that_came_later_is_no_gap(fake: FakeServer, client: Client) -> None:
    job = FakeJob(fake)
    # A field that this client has no name for.
    job.events[6] = pb.TrainingEvent.FromString(pb.TrainingEvent(sequence=7).SerializeToString() + b"\xf2\x06\x01x")
    events = [event.sequence for event in running(client, fake).watch()]
    assert events == [*range(1, 7), *range(8, 13)]


def test_the_result_of_a_job_is_its_sampler(fake: FakeServer, client: Client) -> None:
    FakeJob(fake).breaks = [3]
    assert running(client, fake).result(progress=False).name == "samplers/some-sampler"


async def test_the_asyncio_result_is_the_same(fake: FakeServer, async_client: AsyncClient) -> None:
    FakeJob(fake).breaks = [3]
    fake.script["CreateTrainingJob"] = lambda request, context: pb.TrainingJob(name=NAME)
    job = await async_client.train("some-target")
    assert (await job.result()).name == "samplers/some-sampler"
    assert [event.sequence async for event in job.watch(10)] == [11, 12]


def test_a_failed_job_raises_with_its_reason(fake: FakeServer, client: Client) -> None:
    FakeJob(fake, final=pb.JOB_STATE_FAILED)
    with pytest.raises(errors.JobFailed, match="it diverged") as caught:
        running(client, fake).result()
    assert caught.value.reason == "NON_FINITE_LOG_DENSITY"


def test_a_cancelled_job_raises(fake: FakeServer, client: Client) -> None:
    FakeJob(fake, final=pb.JOB_STATE_CANCELLED)
    with pytest.raises(errors.JobCancelled, match=NAME):
        running(client, fake).result()


def wait_in_watch(fake: FakeServer, waiting: threading.Event) -> None:
    """Let the watch hang after its first event, and let a cancel end it."""
    cancelled = threading.Event()

    def watch(request: Any, context: grpc.ServicerContext) -> Iterator[pb.WatchTrainingJobResponse]:
        yield pb.WatchTrainingJobResponse(event=pb.TrainingEvent(sequence=1, state=pb.JOB_STATE_RUNNING))
        waiting.set()
        context.add_callback(cancelled.set)
        cancelled.wait(20)
        yield pb.WatchTrainingJobResponse(event=pb.TrainingEvent(sequence=2, state=pb.JOB_STATE_CANCELLED))

    def cancel(request: Any, context: grpc.ServicerContext) -> pb.TrainingJob:
        cancelled.set()
        return pb.TrainingJob(name=NAME, state=pb.JOB_STATE_CANCELLING)

    fake.script["WatchTrainingJob"] = watch
    fake.script["CancelTrainingJob"] = cancel
    fake.script["GetTrainingJob"] = lambda request, context: pb.TrainingJob(name=NAME, state=pb.JOB_STATE_CANCELLED)


def test_a_timeout_leaves_the_job_alone(fake: FakeServer, client: Client) -> None:
    wait_in_watch(fake, threading.Event())
    with pytest.raises(errors.DeadlineExceeded, match=r"still running after 0\.3 s"):
        running(client, fake).result(timeout=0.3)
    assert fake.count("CancelTrainingJob") == 0


@pytest.mark.parametrize("embedded", [True, False])
def test_ctrl_c_cancels_on_an_embedded_server_and_detaches_from_another(
    fake: FakeServer,
    client: Client,
    capsys: pytest.CaptureFixture[str],
    embedded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = threading.Event()
    wait_in_watch(fake, waiting)
    job = running(client, fake)
    monkeypatch.setattr(client._twin._connection.host, "embedded", embedded)

    def interrupt() -> None:
        waiting.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        job.result()
    thread.join()
    said = capsys.readouterr().err
    assert fake.count("CancelTrainingJob") == embedded
    if embedded:
        assert f"{NAME} is cancelled" in said
    else:
        assert f"gephyra watch {NAME} --server {fake.address}" in said
    # The client is still of use.
    assert job.refresh().state is JobState.CANCELLED
