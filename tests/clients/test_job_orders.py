"""Pause, resume, retry and delete as a client asks for them: once, with an id, and told in words."""

import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from typer.testing import CliRunner

from gephyra.clients import errors
from gephyra.clients.aio import AsyncClient
from gephyra.clients.cli.app import app
from gephyra.clients.events import event_from_message
from gephyra.clients.progress import PlainLine
from gephyra.clients.sync import Client, Job
from gephyra.clients.words import JobState
from gephyra.protos import sampler_service_pb2
from gephyra.protos import training_service_pb2 as pb
from tests.clients.fake import FakeServer, gone, refuse

NAME, OTHER = "trainingJobs/some-job", "trainingJobs/other-job"


def record(name: str = NAME, state: "pb.JobState.ValueType" = pb.JOB_STATE_RUNNING, **more: Any) -> pb.TrainingJob:
    return pb.TrainingJob(name=name, state=state, target="targets/t", **more)


# The call of each order, what the server answers, and what the client then knows.
ORDERS: dict[str, tuple[str, Any, Callable[[Job, Any], bool]]] = {
    "pause": ("PauseTrainingJob", record(pause_requested=True), lambda job, answer: answer is job and job.pausing),
    "resume": (
        "ResumeTrainingJob", record(state=pb.JOB_STATE_QUEUED),
        lambda job, answer: answer is job and job.state is JobState.QUEUED,
    ),
    "retry": (
        "RetryTrainingJob", record(OTHER, pb.JOB_STATE_QUEUED, retry_of=NAME),
        lambda job, answer: (job.name, answer.name, answer.retry_of) == (NAME, OTHER, NAME),
    ),
    "delete": ("DeleteTrainingJob", Empty(), lambda job, answer: answer is None),
}  # fmt: skip


def always(answer: Any) -> Callable[[Any, grpc.ServicerContext], Any]:
    """What answers every request so."""
    return lambda request, context: answer


@pytest.fixture
def job(fake: FakeServer, client: Client) -> Job:
    """A job on the scripted server."""
    fake.script["GetTrainingJob"] = lambda request, context: record()
    return client.job(NAME)


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_that_breaks_off_is_repeated_with_its_id(fake: FakeServer, job: Job, order: str) -> None:
    call, answer, holds = ORDERS[order]
    breaks = [True, False]
    fake.script[call] = lambda request, context: gone(context) if breaks.pop(0) else answer
    assert holds(job, getattr(job, order)())
    requests = [request for called, request in fake.calls if called == call]
    assert len(requests) == 2
    assert len({request.request_id for request in requests}) == 1
    uuid.UUID(requests[0].request_id)
    assert {request.name for request in requests} == {NAME}
    # Another one is another request.
    breaks.append(False)
    getattr(job, order)()
    assert len({request.request_id for called, request in fake.calls if called == call}) == 2


@pytest.mark.parametrize("order", ORDERS)
def test_a_refusal_says_why(fake: FakeServer, job: Job, order: str) -> None:
    call, code = ORDERS[order][0], grpc.StatusCode.FAILED_PRECONDITION
    fake.script[call] = lambda request, context: refuse(context, code, "it is FAILED", "JOB_STATE_UNSUITED")
    with pytest.raises(errors.FailedPrecondition, match="it is FAILED") as caught:
        getattr(job, order)()
    assert caught.value.reason == "JOB_STATE_UNSUITED"
    assert fake.count(call) == 1


async def test_the_asyncio_calls_are_the_same(fake: FakeServer, async_client: AsyncClient) -> None:
    fake.script["GetTrainingJob"] = lambda request, context: record()
    for call, answer, _ in ORDERS.values():
        fake.script[call] = always(answer)
    job = await async_client.job(NAME)
    assert (await job.pause()).pausing
    assert (await job.resume()).state is JobState.QUEUED
    assert (await job.retry()).name == OTHER
    await job.delete()
    assert job.to_json()["retry_of"] == ""


def _paused_for_a_while(request: Any, context: grpc.ServicerContext) -> Iterator[pb.WatchTrainingJobResponse]:
    states = [pb.JOB_STATE_RUNNING, pb.JOB_STATE_PAUSED, pb.JOB_STATE_QUEUED, pb.JOB_STATE_SUCCEEDED]
    for sequence, state in list(enumerate(states, 1))[request.after_sequence :]:
        yield pb.WatchTrainingJobResponse(event=pb.TrainingEvent(sequence=sequence, state=state))


def test_a_paused_job_is_waited_for(fake: FakeServer, job: Job) -> None:
    done = record(state=pb.JOB_STATE_SUCCEEDED, sampler="samplers/s")
    fake.script["WatchTrainingJob"] = _paused_for_a_while
    fake.script["GetTrainingJob"] = lambda request, context: done
    fake.script["GetSampler"] = lambda request, context: sampler_service_pb2.Sampler(name=request.name)
    assert job.result(progress=False).name == "samplers/s"


def test_who_waits_is_told_that_a_job_is_paused(
    fake: FakeServer, job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    line = PlainLine(NAME)
    event = event_from_message(pb.TrainingEvent(sequence=2, state=pb.JOB_STATE_PAUSED))
    assert event is not None
    line.update(event)
    assert f"{NAME}: paused, until it is resumed" in capsys.readouterr().err

    def for_ever(request: Any, context: grpc.ServicerContext) -> Iterator[pb.WatchTrainingJobResponse]:
        yield pb.WatchTrainingJobResponse(event=pb.TrainingEvent(sequence=1, state=pb.JOB_STATE_PAUSED))
        while context.is_active():
            time.sleep(0.05)

    fake.script["WatchTrainingJob"] = for_ever
    with pytest.raises(errors.DeadlineExceeded, match=r"still paused, until it is resumed after 0\.3 s"):
        job.result(progress=False, timeout=0.3)


COMMANDS: list[tuple[list[str], str, str]] = [
    (["pause", "some-job"], f"{NAME} will pause", "name"),
    (["resume", "some-job"], f"{NAME} is queued", "name"),
    (["retry", "some-job"], f"started {OTHER}", "retry_of"),
    (["jobs", "delete", "some-job"], f"deleted {NAME}", "deleted"),
]


@pytest.mark.parametrize(("arguments", "sentence", "key"), COMMANDS, ids=lambda value: str(value))
def test_each_order_is_a_command(fake: FakeServer, job: Job, arguments: list[str], sentence: str, key: str) -> None:
    for call, answer, _ in ORDERS.values():
        fake.script[call] = always(answer)
    runner = CliRunner()
    told = runner.invoke(app, [*arguments, "--server", fake.address])
    assert told.exit_code == 0, told.output
    assert sentence in told.output
    record = json.loads(runner.invoke(app, [*arguments, "--server", fake.address, "--json"]).stdout)
    assert record[key] == NAME
    assert "Example: gephyra" in runner.invoke(app, [*arguments[:-1], "--help"]).stdout
