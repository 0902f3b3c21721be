"""Draws: put together across broken streams, checked against the trailer, damaged ones refused."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gephyra.clients import errors
from gephyra.clients.sync import Client, SamplerHandle
from gephyra.clients.tensors import to_tensor
from gephyra.protos import program_pb2, sampler_service_pb2, tensor_pb2
from tests.clients.fake import FakeServer, gone, refuse

Response = sampler_service_pb2.DrawSamplesResponse
Request = sampler_service_pb2.DrawSamplesRequest

DIM = 3
TOTAL = 1000
X = np.random.default_rng(1).normal(size=(TOTAL, DIM)).astype(np.float32)
LOG_WEIGHTS = np.random.default_rng(2).normal(size=TOTAL)
SITES = [
    program_pb2.Site(name="tau", dtype=tensor_pb2.DTYPE_FLOAT32),
    program_pb2.Site(name="theta", shape=[2], dtype=tensor_pb2.DTYPE_FLOAT32),
]


def digest(first: int, last: int) -> str:
    return hashlib.sha256(X[first:last].tobytes() + LOG_WEIGHTS[first:last].tobytes()).hexdigest()


def header(digest: str = "d") -> Response:
    return Response(
        header=Response.Header(digest=digest, dim=DIM, sites=SITES, dtype=tensor_pb2.DTYPE_FLOAT32),
    )


def chunk(first: int, last: int) -> Response:
    rows = slice(first, last)
    named = [("tau", X[rows, 0]), ("theta", X[rows, 1:])]
    return Response(
        chunk=Response.Chunk(
            start_index=first,
            count=last - first,
            x=to_tensor(X[rows]),
            log_weight=to_tensor(LOG_WEIGHTS[rows]),
            sites=[tensor_pb2.NamedTensor(name=name, tensor=to_tensor(values)) for name, values in named],
        )
    )


def trailer(first: int, last: int) -> Response:
    return Response(trailer=Response.Trailer(count=last - first, sha256=digest(first, last)))


def honest(request: Request, chunk_size: int = 100) -> Iterator[Response]:
    """What a server sends that is in order."""
    end = request.start_index + request.count
    yield header()
    for first in range(request.start_index, end, chunk_size):
        yield chunk(first, min(first + chunk_size, end))
    yield trailer(request.start_index, end)


def sampler(fake: FakeServer, client: Client) -> SamplerHandle:
    fake.script["GetSampler"] = lambda request, context: sampler_service_pb2.Sampler(name=request.name, dim=DIM)
    return client.sampler("some-sampler")


def test_draws_arrive_as_they_were_sent(fake: FakeServer, client: Client) -> None:
    fake.script["DrawSamples"] = lambda request, context: honest(request)
    draws = sampler(fake, client).draw(250, seed=7, start=20)
    np.testing.assert_array_equal(draws.x, X[20:270])
    np.testing.assert_array_equal(draws.log_weights, LOG_WEIGHTS[20:270])
    np.testing.assert_array_equal(draws.sites["tau"], X[20:270, 0])
    np.testing.assert_array_equal(draws.sites["theta"], X[20:270, 1:])
    assert draws.sha256 == digest(20, 270)
    (request,) = [request for name, request in fake.calls if name == "DrawSamples"]
    assert (request.seed, request.omit_sites, request.chunk_size) == (7, False, 0)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(breaks=st.lists(st.integers(0, 10), max_size=4), chunk_size=st.integers(20, 300))
def test_streams_that_break_anywhere_are_resumed_without_a_seam(
    fake: FakeServer, client: Client, breaks: list[int], chunk_size: int
) -> None:
    left = list(breaks)

    def answer(request: Request, context: grpc.ServicerContext) -> Iterator[Response]:
        messages = list(honest(request, chunk_size))
        if left:
            yield from messages[: left.pop()]
            gone(context)
        yield from messages

    fake.script["DrawSamples"] = answer
    draws = sampler(fake, client).draw(700, start=50)
    assert draws.sha256 == digest(50, 750)
    np.testing.assert_array_equal(draws.sites["theta"], X[50:750, 1:])


def test_a_restarted_server_is_found_again(fake: FakeServer, client: Client) -> None:
    handle = sampler(fake, client)

    def break_down(request: Request, context: grpc.ServicerContext) -> Iterator[Response]:
        yield header()
        yield chunk(0, 100)
        fake.script["DrawSamples"] = lambda request, context: honest(request)
        gone(context)

    fake.script["DrawSamples"] = break_down
    fake.stop()
    fake.start()
    assert handle.draw(300).sha256 == digest(0, 300)


def test_a_server_that_stays_away_ends_the_patience(fake: FakeServer, client: Client) -> None:
    handle = sampler(fake, client)
    fake.stop()
    with pytest.raises(errors.ServerGone):
        handle.draw(10)


def test_an_error_of_the_server_is_not_tried_again(fake: FakeServer, client: Client) -> None:
    fake.script["DrawSamples"] = lambda request, context: refuse(
        context, grpc.StatusCode.INVALID_ARGUMENT, "too many", "DRAWS_OUT_OF_RANGE", (("count", "at most 10"),)
    )
    with pytest.raises(errors.InvalidArgument) as caught:
        sampler(fake, client).draw(10)
    assert (caught.value.reason, caught.value.field) == ("DRAWS_OUT_OF_RANGE", "count")
    assert fake.count("DrawSamples") == 1


def wrong_digest() -> list[Response]:
    return [header(), chunk(0, 10), Response(trailer=Response.Trailer(count=10, sha256="0" * 64))]


def wrong_count() -> list[Response]:
    return [header(), chunk(0, 10), Response(trailer=Response.Trailer(count=9, sha256=digest(0, 10)))]


def too_many() -> list[Response]:
    return [header(), chunk(0, 11)]


def gap() -> list[Response]:
    return [header(), chunk(1, 10)]


def no_header() -> list[Response]:
    return [chunk(0, 10)]


def two_headers() -> list[Response]:
    return [header("a"), header("b")]


def short_tensor() -> list[Response]:
    message = chunk(0, 10)
    message.chunk.x.data = message.chunk.x.data[:-1]
    return [header(), message]


def wrong_shape() -> list[Response]:
    message = chunk(0, 10)
    message.chunk.x.CopyFrom(to_tensor(X[:10, :2]))
    return [header(), message]


def missing_site() -> list[Response]:
    message = chunk(0, 10)
    del message.chunk.sites[1]
    return [header(), message]


def negative_count() -> list[Response]:
    message = chunk(0, 10)
    message.chunk.count = -10
    return [header(), message]


DAMAGED = [
    wrong_digest, wrong_count, too_many, gap, no_header, two_headers, short_tensor, wrong_shape, missing_site,
    negative_count,
]  # fmt: skip


@pytest.mark.parametrize("messages", DAMAGED, ids=lambda messages: messages.__name__)
def test_damaged_draws_are_refused(fake: FakeServer, client: Client, messages: Callable[[], list[Response]]) -> None:
    fake.script["DrawSamples"] = lambda request, context: iter(messages())
    with pytest.raises(errors.DataLoss):
        sampler(fake, client).draw(10)


def test_a_stream_without_end_marker_is_resumed_but_not_for_ever(fake: FakeServer, client: Client) -> None:
    fake.script["DrawSamples"] = lambda request, context: iter([header()])
    with pytest.raises(errors.Unavailable, match="before its trailer"):
        sampler(fake, client).draw(10)


def test_no_draws_have_the_shape_of_no_draws(fake: FakeServer, client: Client) -> None:
    fake.script["DrawSamples"] = lambda request, context: honest(request)
    draws = sampler(fake, client).draw(0)
    assert draws.x.shape == (0, DIM)
    assert draws.sites["theta"].shape == (0, 2)


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("seed", 2**64), ("start", 0.5), ("n", "many")])
def test_a_number_of_the_wrong_kind_is_the_callers_error(
    fake: FakeServer, client: Client, name: str, value: Any
) -> None:
    arguments: dict[str, Any] = {"n": 10, name: value}
    with pytest.raises(errors.InvalidArgument) as caught:
        sampler(fake, client).draw(**arguments)
    assert caught.value.field == {"seed": "seed", "start": "start_index", "n": "count"}[name]


def test_a_saved_file_appears_whole_or_not_at_all(fake: FakeServer, client: Client, tmp_path: Any) -> None:
    def export(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield sampler_service_pb2.ExportSamplerResponse(data=b"half")
        if fake.count("ExportSampler") == 1:
            refuse(context, grpc.StatusCode.INTERNAL, "disk gone", "DISK")
        yield sampler_service_pb2.ExportSamplerResponse(data=b" whole")

    fake.script["ExportSampler"] = export
    handle = sampler(fake, client)
    with pytest.raises(errors.Internal):
        handle.save(tmp_path / "s.gephyra")
    assert list(tmp_path.iterdir()) == []
    assert handle.save(tmp_path / "s.gephyra").read_bytes() == b"half whole"
    assert [path.name for path in tmp_path.iterdir()] == ["s.gephyra"]


def test_how_draws_are_made_is_sent_and_kept_when_a_stream_is_resumed(fake: FakeServer, client: Client) -> None:
    def once_broken(request: Request, context: grpc.ServicerContext) -> Iterator[Response]:
        yield from list(honest(request))[:2]
        gone(context)

    def script(request: Request, context: grpc.ServicerContext) -> Iterator[Response]:
        return once_broken(request, context) if fake.count("DrawSamples") == 1 else honest(request)

    fake.script["DrawSamples"] = script
    how = sampler_service_pb2.DrawSettings(
        resample=True, smc=True, polish=sampler_service_pb2.POLISH_MALA, polish_steps=5
    )
    handle = sampler(fake, client)
    handle.draw(250, resample=True, smc=True, polish="mala", polish_steps=5)
    requests = [request for name, request in fake.calls if name == "DrawSamples"]
    assert [request.how for request in requests] == [how, how]
    assert requests[1].start_index == 100
    handle.draw(10)
    assert fake.calls[-1][1].how == sampler_service_pb2.DrawSettings()


def test_an_unknown_polish_never_leaves_the_client(fake: FakeServer, client: Client) -> None:
    handle = sampler(fake, client)
    with pytest.raises(errors.InvalidArgument, match="none, imh, mala, imh-mala") as caught:
        handle.draw(10, polish="wax")
    assert (caught.value.reason, caught.value.field) == ("UNKNOWN_POLISH", "how.polish")
    with pytest.raises(errors.InvalidArgument, match="polish_steps"):
        handle.draw(10, polish_steps=0.5)  # type: ignore[arg-type]
    assert fake.count("DrawSamples") == 0
