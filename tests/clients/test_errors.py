"""Every failure of a call arrives as one exception of our own, with what the server said about it."""

import gc
import inspect
import re
import socket

import grpc
import pytest

from gephyra.clients import errors
from gephyra.clients.sync import Client
from gephyra.protos import target_service_pb2
from tests.clients.fake import FakeServer, gone, refuse

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_every_status_code_becomes_its_exception_with_reason_and_metadata(
    fake: FakeServer, client: Client, code: grpc.StatusCode
) -> None:
    fake.script["GetTarget"] = lambda request, context: refuse(context, code, "a sentence", "A_REASON", limit="3")
    with pytest.raises(errors.GephyraError) as caught:
        client.target("some-target")
    assert type(caught.value) is errors.error_class(code.value[0])
    assert caught.value.message == "a sentence"
    assert caught.value.reason == "A_REASON"
    assert caught.value.metadata == {"limit": "3"}
    assert not isinstance(caught.value, grpc.RpcError)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_violation_names_its_field(fake: FakeServer, client: Client) -> None:
    def answer(request: object, context: grpc.ServicerContext) -> None:
        fields = (("page_size", "must not be negative"), ("page_token", "unknown"))
        refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "two fields", "FIELD_INVALID", fields)

    fake.script["ListTargets"] = answer
    with pytest.raises(errors.InvalidArgument) as caught:
        client.targets()
    assert caught.value.field == "page_size"
    assert [violation.field for violation in caught.value.violations] == ["page_size", "page_token"]
    assert isinstance(caught.value, ValueError)


def test_unavailable_is_retried_only_on_safe_calls(fake: FakeServer, client: Client) -> None:
    def fail_twice(request: object, context: grpc.ServicerContext) -> target_service_pb2.Target:
        if fake.count("GetTarget") < 3:
            gone(context)
        return target_service_pb2.Target(name="targets/back-again")

    fake.script["GetTarget"] = fail_twice
    fake.script["DeleteTarget"] = lambda request, context: gone(context)
    target = client.target("back-again")
    assert fake.count("GetTarget") == 3
    with pytest.raises(errors.Unavailable):
        target.delete()
    assert fake.count("DeleteTarget") == 1


def test_a_retried_create_keeps_its_request_id(fake: FakeServer, client: Client) -> None:
    from gephyra.clients import catalogue

    def fail_once(request: object, context: grpc.ServicerContext) -> target_service_pb2.Target:
        if fake.count("CreateTarget") < 2:
            gone(context)
        return target_service_pb2.Target(name="targets/funnel", state=target_service_pb2.Target.STATE_READY)

    fake.script["CreateTarget"] = fail_once
    client.register(catalogue("funnel", dim=2))
    client.register(catalogue("funnel", dim=2))
    first, second, third = (request.request_id for name, request in fake.calls)
    assert first == second
    assert second != third
    assert re.fullmatch(r"[0-9a-f-]{36}", first)


def test_nobody_at_the_address_is_server_gone_and_says_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with Client(address) as client, pytest.raises(errors.ServerGone, match="gephyra serve") as caught:
        client.info()
    assert caught.value.reason == "SERVER_GONE"
    assert isinstance(caught.value, ConnectionError)


def test_an_unavailable_server_that_explains_itself_is_not_gone(fake: FakeServer, client: Client) -> None:
    fake.script["DeleteTarget"] = lambda request, context: refuse(
        context, grpc.StatusCode.UNAVAILABLE, "stopping", "SERVER_STOPPING"
    )
    fake.script["GetTarget"] = lambda request, context: target_service_pb2.Target(name=request.name)
    with pytest.raises(errors.Unavailable) as caught:
        client.target("some-target").delete()
    assert not isinstance(caught.value, errors.ServerGone)


@pytest.mark.parametrize("address", ["", "host", "host:", "host:port", ":"])
def test_an_address_must_be_host_and_port(address: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="host:port"):
        Client(address)
    gc.collect()


def test_damaged_details_fall_back_to_the_code(fake: FakeServer, client: Client) -> None:
    def answer(request: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such target")

    fake.script["GetTarget"] = answer
    with pytest.raises(errors.NotFound, match="no such target"):
        client.target("some-target")


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    drawn = set(re.findall(r"── (\w+)", errors.__doc__ or "")) | {"GephyraError"}
    classes = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert drawn == classes
    assert classes | {"Violation", "error_class"} == set(errors.__all__)
