"""Draws made lately come from memory: the same bytes, without a worker, within a bound; and the loop stays free."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gephyra.protos import sampler_service_pb2 as pb
from gephyra.service.cutting import Cutter, Drawn
from gephyra.service.draw_cache import DrawCache
from gephyra.service.sending import Lanes
from tests.support.server import ServerProcess, Stubs, gaussian, register, train, wait_for

# A little more than a piece costs.
PIECE = 760


def piece(start: int, count: int = 10) -> Drawn:
    """Draws whose bytes say which they are."""
    chunk = pb.DrawSamplesResponse.Chunk(start_index=start, count=count)
    chunk.x.data = b"".join(n.to_bytes(12) for n in range(start, start + count))
    chunk.log_weight.data = bytes(8 * count)
    return Drawn(start, count, pb.DrawSamplesResponse(chunk=chunk).SerializeToString())


@given(
    pieces=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.integers(1, 20)), max_size=30),
    size=st.integers(0, 12_000),
)
def test_what_is_found_is_what_was_put_and_never_more_than_fits(pieces: list[tuple[str, int, int]], size: int) -> None:
    cache = DrawCache(size)
    for stream, start, count in pieces:
        cache.put(stream, piece(start, count))
    held = 0
    for stream in "abc":
        found = {index: cache.get(stream, index) for index in range(100)}
        known = {index: drawn for index, drawn in found.items() if drawn is not None}
        assert all(drawn == piece(drawn.start, drawn.count) for drawn in known.values())
        assert all(drawn.start <= index < drawn.start + drawn.count for index, drawn in known.items())
        held += sum(len(drawn.message) for drawn in set(known.values()))
    assert held <= size


def test_streams_go_as_a_whole_the_least_recently_used_first() -> None:
    cache = DrawCache(3 * PIECE)
    for stream in ("a", "b", "c"):
        cache.put(stream, piece(0))
        cache.remember(stream, 0, 10, f"digest of {stream}")
    assert cache.get("a", 5) == piece(0)
    cache.put("d", piece(0))
    cache.put("d", piece(10))
    assert [stream for stream in "abcd" if cache.get(stream, 0) is not None] == ["a", "d"]
    assert [cache.digest(stream, 0, 10) for stream in "ab"] == ["digest of a", ""]


def test_one_stream_does_not_push_itself_out() -> None:
    cache = DrawCache(3 * PIECE)
    for start in range(0, 100, 10):
        cache.put("a", piece(start))
    assert [start for start in range(0, 100, 10) if cache.get("a", start) is not None] == [0, 10, 20]


def test_draws_before_and_after_a_range_are_left_out() -> None:
    cutter = Cutter(3, [], 4)
    cutter.put(piece(0), 8)
    assert (cutter.start, cutter.end) == (4, 8)
    assert cutter.chunk(100).x == b"".join(n.to_bytes(12) for n in range(4, 8))
    assert (cutter.start, cutter.end) == (8, 8)


def test_only_the_same_draws_go_out_as_they_are() -> None:
    cache = DrawCache(PIECE)
    cache.put("a", piece(10))
    assert cache.exact("a", 10, 10) == piece(10)
    assert [cache.exact(*asked) for asked in (("a", 10, 9), ("a", 11, 9), ("a", 20, 10), ("b", 10, 10))] == [None] * 4


def stream(stubs: Stubs, sampler: str, count: int, start: int = 0, seed: int = 3) -> tuple[bytes, str]:
    """Bytes of x and weights, and the digest that came with them, which must be theirs."""
    request = pb.DrawSamplesRequest(sampler=sampler, count=count, start_index=start, seed=seed)
    _, *chunks, last = stubs.sampling.DrawSamples(request)
    content = b"".join(m.chunk.x.data for m in chunks) + b"".join(m.chunk.log_weight.data for m in chunks)
    assert hashlib.sha256(content).hexdigest() == last.trailer.sha256
    return content, last.trailer.sha256


@pytest.mark.slow
def test_draws_from_memory_are_the_same_and_need_no_worker(serve: Callable[..., ServerProcess], tmp_path: Path) -> None:
    """Other ranges of them too; a server that remembers nothing, after a restart, sends the same again."""
    server = serve(tmp_path / "data")
    target = register(server.stubs, gaussian(), "normal")
    sampler = train(server.stubs, target.name).name
    whole, digest = stream(server.stubs, sampler, 3000)
    # Who trained may need a moment to end.
    wait_for(lambda: len(server.workers()) == 1, what="the only worker")
    (worker,) = server.workers()
    worker.suspend()
    try:
        assert stream(server.stubs, sampler, 3000) == (whole, digest)
        part, _ = stream(server.stubs, sampler, 1000, start=700)
    finally:
        worker.resume()
    x = whole[: 3000 * 12]
    assert part[: 1000 * 12] == x[700 * 12 : 1700 * 12]
    assert stream(server.stubs, sampler, 3000, seed=4)[0] != whole
    server.stop()
    server.start()
    assert stream(server.stubs, sampler, 3000) == (whole, digest)
    assert stream(server.stubs, sampler, 1000, start=700)[0] == part


@pytest.mark.slow
def test_without_memory_draws_are_made_again(stubs: Stubs, server: ServerProcess, sampler: pb.Sampler) -> None:
    before = stream(stubs, sampler.name, 2000)
    wait_for(lambda: len(server.workers()) == 1, what="the only worker")
    (worker,) = server.workers()
    worker.suspend()
    try:
        calls = stubs.sampling.DrawSamples(pb.DrawSamplesRequest(sampler=sampler.name, count=2000, seed=3), timeout=1)
        with pytest.raises(grpc.RpcError) as caught:
            list(calls)
        assert calls.code() is grpc.StatusCode.DEADLINE_EXCEEDED, caught.value
    finally:
        worker.resume()
    assert stream(stubs, sampler.name, 2000) == before


async def test_lanes_bound_how_many_work_and_keep_the_order() -> None:
    lanes, working, most, order = Lanes(2), 0, 0, []

    async def work(name: int) -> None:
        nonlocal working, most
        async with lanes.turn():
            order.append(name)
            working += 1
            most = max(most, working)
            await asyncio.sleep(0)
            working -= 1

    await asyncio.gather(*(work(name) for name in range(10)))
    assert most == 2
    assert order == list(range(10))


async def test_a_slow_reader_does_not_keep_its_lane() -> None:
    lanes, free = Lanes(1), asyncio.Event()

    async def slow() -> None:
        async with lanes.turn():
            await free.wait()

    readers = [asyncio.create_task(slow()) for _ in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        async with lanes.turn():
            pass
    free.set()
    await asyncio.gather(*readers)
    # Left once each: there is one lane, as before.
    async with lanes.turn():
        waiting = asyncio.create_task(slow())
        await asyncio.sleep(0)
        assert lanes.turn()._free.locked()
    await waiting
    assert not lanes.turn()._free.locked()
