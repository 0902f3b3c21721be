"""What is sent again: by gRPC what reads or carries a request id, by the client what a busy server did not begin."""

import ast
import json
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import duration_pb2, empty_pb2
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gephyra.clients import channel, errors
from gephyra.clients.addresses import RemoteHost
from gephyra.clients.channel import UNARY_SECONDS, Connection
from gephyra.clients.definition import catalogue
from gephyra.clients.sync import Client
from gephyra.protos import meta_service_pb2, sampler_service_pb2, training_service_pb2
from gephyra.service.admission import Kind, kind_of
from tests.clients.fake import _METHODS as METHODS
from tests.clients.fake import FakeServer, status
from tests.support.faulty import faulty_proxy
from tests.support.server import ServerProcess
from tests.support.source import ROOT

NAMES = {name.removeprefix("/gephyra.v1."): method for name, method in METHODS.items()}
READS = ("Get", "List", "Check", "Evaluate", "Estimate")

# Each with the reason why gRPC does not send it again.
NOT_REPEATED = {
    "TargetService/DeleteTarget": "twice is NOT_FOUND",
    "DatasetService/DeleteDataset": "twice is NOT_FOUND",
    "SamplerService/DeleteSampler": "twice is NOT_FOUND",
    "BlobService/UploadBlob": "the client goes on where it broke",
    "SamplerService/ImportSampler": "the client sends the file again, under the same request id",
    "SamplerService/ExportSampler": "the client reads the file again",
    "SamplingService/DrawSamples": "the client goes on where it broke",
    "TrainingService/WatchTrainingJob": "the client goes on where it broke",
}


def config() -> dict[str, Any]:
    """What the client tells gRPC to send again."""
    found: dict[str, Any] = json.loads(str(dict(channel._options({}))["grpc.service_config"]))
    return found


def repeated() -> set[str]:
    """What the client's service config has gRPC send again."""
    (only,) = config()["methodConfig"]
    return {f"{each['service'].removeprefix('gephyra.v1.')}/{each['method']}" for each in only["name"]}


def test_every_call_is_repeated_or_says_why_not() -> None:
    assert repeated() | set(NOT_REPEATED) == set(NAMES)
    assert not repeated() & set(NOT_REPEATED)


def test_only_what_is_safe_is_repeated() -> None:
    for name in repeated():
        method = NAMES[name]
        reads = method.name.startswith(READS)
        assert reads or "request_id" in method.input_type.fields_by_name, name
        assert not method.client_streaming, name
        assert not method.server_streaming, name


def test_the_policy_is_that_of_the_contract() -> None:
    (policy,) = (each["retryPolicy"] for each in config()["methodConfig"])
    assert policy == {
        "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }  # fmt: skip
    assert 0 < config()["retryThrottling"]["maxTokens"] <= 1000


def test_every_kind_of_call_is_what_admission_takes_it_for() -> None:
    for name, method in NAMES.items():
        kind, streams = kind_of(f"gephyra.v1.{name}"), method.client_streaming or method.server_streaming
        assert (kind in (Kind.STREAM, Kind.WATCH)) == streams, name
    assert kind_of("grpc.health.v1.Health/Check") is None


async def test_every_unary_call_reaches_the_server_with_a_deadline(fake: FakeServer) -> None:
    left: dict[str, float | None] = {}

    def answer(name: str, method: Any) -> Any:
        def note(request: Any, context: grpc.ServicerContext) -> Any:
            left[name] = context.time_remaining()
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

        return note

    fake.script = {method.name: answer(name, method) for name, method in NAMES.items()}
    connection = Connection(RemoteHost(fake.address), 1.0)
    stubs = await connection.start()
    unary = {name: method for name, method in NAMES.items() if not method.server_streaming}
    for method in unary.values():
        (call,) = (getattr(each, method.name) for each in vars_of(stubs) if hasattr(each, method.name))
        request, choose = GetMessageClass(method.input_type)(), lambda stubs, call=call: call
        uploads = method.client_streaming
        sent = connection.upload(choose, [request], 10.0) if uploads else connection.unary(choose, request)
        with pytest.raises(errors.Unimplemented):
            await sent
    await connection.close()
    assert set(left) == set(unary)
    for name, seconds in left.items():
        assert seconds is not None, name
        # gRPC rounds up what is left.
        assert 0 < seconds < UNARY_SECONDS + 1, name


def vars_of(stubs: channel.Stubs) -> list[Any]:
    return [getattr(stubs, name) for name in channel.Stubs.__slots__]


def test_no_call_goes_past_the_connection() -> None:
    """Calls of stubs are only made by `Connection`, which sets the deadline: others hand it a lambda."""
    for path in (ROOT / "clients").rglob("*.py"):
        tree = ast.parse(path.read_text())
        handed = {
            lambda_ for call in ast.walk(tree) if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
            if call.func.attr in ("unary", "pages", "upload", "stream")
            for lambda_ in call.args if isinstance(lambda_, ast.Lambda)
        }  # fmt: skip
        named = {
            each for each in ast.walk(tree)
            if isinstance(each, ast.Lambda) and [arg.arg for arg in each.args.args] == ["stubs"]
        }  # fmt: skip
        assert named <= handed, path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("retries") / "data") as server:
        yield server


def test_an_answer_that_is_lost_on_its_way_makes_nothing_twice(server: ServerProcess) -> None:
    with (
        Client(f"unix:{server.socket}") as direct,
        faulty_proxy(server.socket) as proxy,
        Client(proxy.address) as client,
    ):
        client.info()

        def losing(count: int = 2) -> None:
            proxy.lost, proxy.lose = 0, count

        losing()
        target = client.register(catalogue("gaussian", dim=2), name="once", wait=False)
        assert proxy.lost == 2
        direct.register(catalogue("gaussian", dim=2), name="once")
        losing()
        job = client.train(target, iterations=10**6, batch_size=16, steps=4, width=8, precondition="none")
        assert proxy.lost == 2
        losing()
        job.cancel()
        assert proxy.lost == 2
        losing(1)
        client.upload(np.arange(12.0).reshape(6, 2), "table", progress=False)
        assert proxy.lost == 1
        lists = (client.targets(), client.jobs(), client.datasets())
    assert [[each.name for each in found] for found in lists] == [["targets/once"], [job.name], ["datasets/table"]]


def busy(context: grpc.ServicerContext, seconds: float) -> None:
    """Refuse as a busy server does."""
    refusal = status(grpc.StatusCode.RESOURCE_EXHAUSTED, "64 streams are open", "SERVER_BUSY", limit="max_streams")
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(int(1000 * seconds))
    refusal.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    context.abort_with_status(rpc_status.to_status(refusal))


def test_a_busy_server_is_asked_again_when_it_says(fake: FakeServer, client: Client) -> None:
    asked: list[float] = []

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        asked.append(time.monotonic())
        if len(asked) < 3:
            busy(context, 0.5)
        return meta_service_pb2.GetServerInfoResponse(version="1")

    fake.script["GetServerInfo"] = answer
    assert client.info().version == "1"
    assert all(later - earlier >= 0.4 for earlier, later in pairwise(asked))


def test_a_busy_server_is_asked_again_for_anything_because_it_did_nothing(fake: FakeServer, client: Client) -> None:
    def delete(request: Any, context: grpc.ServicerContext) -> Any:
        if fake.count("DeleteSampler") == 1:
            busy(context, 0.1)
        return empty_pb2.Empty()

    fake.script["DeleteSampler"] = delete
    fake.script["GetSampler"] = lambda request, context: sampler_service_pb2.Sampler(name=request.name)
    client.sampler("s").delete()
    assert fake.count("DeleteSampler") == 2


def test_a_server_that_stays_busy_ends_the_patience_in_words(fake: FakeServer) -> None:
    fake.script["GetServerInfo"] = lambda request, context: busy(context, 0.3)
    with Client(fake.address, patience=1.0) as client, pytest.raises(errors.ServerBusy, match="64 streams") as caught:
        client.info()
    assert caught.value.reason == "SERVER_BUSY"
    assert caught.value.metadata == {"limit": "max_streams"}
    assert caught.value.retry_seconds == pytest.approx(0.3)
    assert isinstance(caught.value, errors.ResourceExhausted)
    assert 2 <= fake.count("GetServerInfo") <= 4


def test_another_limit_is_not_asked_again(fake: FakeServer, client: Client) -> None:
    def full(request: Any, context: grpc.ServicerContext) -> None:
        context.abort_with_status(
            rpc_status.to_status(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room", "STORAGE_FULL"))
        )

    fake.script["GetServerInfo"] = full
    with pytest.raises(errors.ResourceExhausted, match="no room"):
        client.info()
    assert fake.count("GetServerInfo") == 1


def test_a_watch_waits_for_a_busy_server(fake: FakeServer, client: Client) -> None:
    def watch(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        if fake.count("WatchTrainingJob") < 3:
            busy(context, 0.1)
        yield training_service_pb2.WatchTrainingJobResponse(
            event=training_service_pb2.TrainingEvent(sequence=1, state=training_service_pb2.JOB_STATE_SUCCEEDED)
        )

    record = training_service_pb2.TrainingJob(name="trainingJobs/j", state=training_service_pb2.JOB_STATE_SUCCEEDED)
    fake.script |= {"WatchTrainingJob": watch, "GetTrainingJob": lambda request, context: record}
    assert [event.sequence for event in client.job("j").watch()] == [1]
    assert fake.count("WatchTrainingJob") == 3
