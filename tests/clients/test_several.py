"""A client of several servers: what breaks at one goes on at another, and nothing is sent twice that may not be."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

from gephyra.clients import errors
from gephyra.clients.addresses import target_of
from gephyra.clients.sync import Client
from gephyra.protos import sampler_service_pb2, target_service_pb2
from tests.chaos.host import free_address
from tests.clients.fake import Answer, FakeServer, gone, refuse

TARGET = target_service_pb2.Target(name="targets/some-target", state=target_service_pb2.Target.STATE_READY)
SAMPLER = sampler_service_pb2.Sampler(name="samplers/some-sampler")


@pytest.fixture
def pair() -> Iterator[tuple[FakeServer, FakeServer]]:
    both = FakeServer(free_address()), FakeServer(free_address())
    for server in both:
        server.script["GetTarget"] = lambda request, context: TARGET
        server.start()
    yield both
    for server in both:
        server.stop()


@pytest.fixture
def client(pair: tuple[FakeServer, FakeServer]) -> Iterator[Client]:
    with Client(",".join(server.address for server in pair), patience=20.0) as made:
        yield made


def after(count: int, first: Answer, then: Answer) -> Answer:
    """An answer that is another one the first times, over all servers that have it."""
    left = iter(range(count))
    return lambda request, context: (first if next(left, None) is not None else then)(request, context)


def script(pair: tuple[FakeServer, FakeServer], name: str, answer: Answer) -> Callable[[], int]:
    """Have both give this answer; how often they were asked."""
    for server in pair:
        server.script[name] = answer
    return lambda: sum(server.count(name) for server in pair)


def stopping(request: object, context: grpc.ServicerContext) -> Any:
    refuse(context, grpc.StatusCode.UNAVAILABLE, "the server is stopping", "SERVER_STOPPING")


def test_either_is_asked_and_the_one_that_is_there_is_enough(
    client: Client, pair: tuple[FakeServer, FakeServer]
) -> None:
    for _ in range(20):
        client.target("some-target")
    # How the first calls fall depends on which connection came first.
    assert min(server.count("GetTarget") for server in pair) >= 5
    for leaving in pair:
        leaving.stop()
        for _ in range(5):
            assert client.target("some-target").name == TARGET.name
        leaving.start()


def test_a_call_that_may_be_repeated_is_until_one_of_them_answers(
    client: Client, pair: tuple[FakeServer, FakeServer]
) -> None:
    asked = script(pair, "GetTarget", after(9, stopping, lambda request, context: TARGET))
    assert client.target("some-target").name == TARGET.name
    assert asked() == 10
    # One server alone is given up sooner: it may be gone for good.
    script(pair, "GetTarget", after(9, stopping, lambda request, context: TARGET))
    with Client(pair[0].address) as alone, pytest.raises(errors.Unavailable):
        alone.target("some-target")


def test_a_refusal_for_a_reason_is_not_repeated(client: Client, pair: tuple[FakeServer, FakeServer]) -> None:
    def refusal(request: object, context: grpc.ServicerContext) -> Any:
        refuse(context, grpc.StatusCode.NOT_FOUND, "there is no such target", "TARGET_NOT_FOUND")

    asked = script(pair, "GetTarget", refusal)
    with pytest.raises(errors.NotFound):
        client.target("some-target")
    assert asked() == 1


def test_a_call_without_an_id_is_sent_once_and_waits_for_somebody_to_take_it(
    client: Client, pair: tuple[FakeServer, FakeServer]
) -> None:
    target = client.target("some-target")
    asked = script(pair, "DeleteTarget", lambda request, context: gone(context))
    with pytest.raises(errors.Unavailable):
        target.delete()
    assert asked() == 1
    asked = script(pair, "DeleteTarget", lambda request, context: Empty())
    for server in pair:
        server.stop()
        server.calls.clear()
    coming = threading.Timer(1.0, pair[1].start)
    coming.start()
    target.delete()
    coming.join()
    assert asked() == 1


def test_files_come_and_go_whole_over_servers_that_break(
    client: Client, pair: tuple[FakeServer, FakeServer], tmp_path: Path
) -> None:
    parts = [sampler_service_pb2.ExportSamplerResponse(data=data) for data in (b"one", b"two")]

    def broken(request: object, context: grpc.ServicerContext) -> Iterator[Any]:
        yield parts[0]
        gone(context)

    script(pair, "GetSampler", lambda request, context: SAMPLER)
    script(pair, "ExportSampler", after(2, broken, lambda request, context: iter(parts)))
    path = client.sampler("some-sampler").save(tmp_path / "file")
    assert path.read_bytes() == b"onetwo"
    asked = script(pair, "ImportSampler", after(2, lambda request, context: gone(context), lambda r, c: SAMPLER))
    assert client.load(path).name == SAMPLER.name
    assert asked() == 3
    sent = [messages for server in pair for name, messages in server.calls if name == "ImportSampler"]
    assert len({messages[0].header.request_id for messages in sent}) == 1
    assert {b"".join(message.data for message in messages[1:]) for messages in sent} == {b"onetwo"}


def test_nobody_anywhere_is_server_gone() -> None:
    addresses = f"{free_address()},{free_address()}"
    with Client(addresses, patience=0.5) as client, pytest.raises(errors.ServerGone, match=addresses):
        client.info()


@pytest.mark.parametrize("address", ["127.0.0.1:1,", "127.0.0.1:1,host", "127.0.0.1:1,unix:/s", ",127.0.0.1:1"])
def test_each_of_several_must_be_host_and_port(address: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="host:port,host:port"):
        Client(address)


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("localhost:1", "localhost:1"),
        ("unix:/a,b", "unix:/a,b"),
        ("127.0.0.1:1,localhost:2", "ipv4:127.0.0.1:1,127.0.0.1:2"),
        ("[::1]:1,127.0.0.1:2", "ipv6:[::1]:1,[::ffff:127.0.0.1]:2"),
    ],
)
async def test_several_addresses_become_one_target(address: str, target: str) -> None:
    assert (await target_of(address)).replace("::ffff:7f00:1", "::ffff:127.0.0.1") == target


def test_a_host_that_is_not_known_is_server_gone() -> None:
    addresses = "nowhere.invalid:1,127.0.0.1:2"
    with Client(addresses, patience=0.2) as client, pytest.raises(errors.ServerGone, match="no host"):
        client.info()
