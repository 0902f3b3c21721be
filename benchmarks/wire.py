"""How fast do draws travel, beside a bare stream of bytes, and is the server still there for others meanwhile?

    python -m benchmarks.wire [--json] [--rounds 7] [--streams 32] [--seconds 10]

One sampler with a trivial target (a standard normal in 1000 dimensions) is stored; its draws are made once and stay in
the server's memory, so that what is timed is the wire: cutting, messages, gRPC. The bare stream is another process of
grpc.aio that sends as many bytes, in as many messages, from its memory. The two take turns, both read through gRPC's
synchronous client, messages parsed; the ratio is that of their medians. Then many streams run at once, first of stored
draws, then of draws that are made for them, while another process asks for the server's health every 5 ms.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gephyra.clients.definition import catalogue
from gephyra.clients.sync import Client
from gephyra.protos import sampler_service_pb2, sampler_service_pb2_grpc

DIM, COUNT = 1000, 12_000
# x in float32, the log weight in float64.
ROW_BYTES = 4 * DIM + 8
TRAINING: dict[str, Any] = {"method": "ula", "iterations": 1, "steps": 1, "precondition": "none", "width": 8}
PAUSE = 0.005
MIB = 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object to standard output")
    parser.add_argument("--rounds", type=int, default=7, help="of bare stream and draws in turn")
    parser.add_argument("--streams", type=int, default=32, help="at once, while health is asked for")
    parser.add_argument("--seconds", type=float, default=10.0, help="for which health is asked for")
    parser.add_argument("--child", nargs=2, metavar=("KIND", "SOCKET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, socket = arguments.child
        asyncio.run(_CHILDREN[kind](socket, arguments))
        return
    measured = measure(arguments)
    if arguments.json:
        print(json.dumps(measured))
        return
    for name, value in measured.items():
        print(f"{name:32} {value:10.2f}")


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Figures by name; rates in MiB/s of draws and weights, times in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        sockets = Path(folder) / "server", Path(folder) / "bare"
        service = ["-m", "gephyra.service", "--data", f"{folder}/data", "--socket", str(sockets[0])]
        bare = ["-m", "benchmarks.wire", "--child", "bare", str(sockets[1])]
        with _process(service, log=Path(folder) / "log"), _process(bare):
            with Client(f"unix:{sockets[0]}") as client:
                target = client.register(catalogue("gaussian", dim=DIM), name="trivial")
                sampler = client.train(target, **TRAINING).result().name
            figures = rates(sockets, sampler, arguments.rounds)
            for kind in ("idle", "stored", "fresh"):
                figures |= health(sockets[0], kind, sampler, arguments)
    return figures


def rates(sockets: Sequence[Path], sampler: str, rounds: int) -> dict[str, float]:
    """MiB/s of draws that are made, of stored ones, and of a bare stream of the same messages."""
    with _channel(sockets[0]) as channel, _channel(sockets[1]) as other:
        stub = sampler_service_pb2_grpc.SamplingServiceStub(channel)
        counts: list[int] = []

        def draws() -> int:
            request = sampler_service_pb2.DrawSamplesRequest(sampler=sampler, count=COUNT, omit_sites=True)
            # Not ByteSize, which serialises.
            counts[:] = [message.chunk.count for message in stub.DrawSamples(request)]
            return ROW_BYTES * sum(counts)

        # The published types know no calls without a schema.
        call: Any = other.unary_stream("/bare/Stream")

        def bare() -> int:
            wanted = json.dumps({"size": ROW_BYTES * counts[1], "count": len(counts) - 2}).encode()
            return sum(len(message) for message in call(wanted))

        made = _rate(draws)
        taken: dict[str, list[float]] = {"bare": [], "stored": []}
        for _ in range(rounds + 1):
            taken["bare"].append(_rate(bare))
            taken["stored"].append(_rate(draws))
    # The first round warms both up.
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
    return {
        "bare_mib_per_s": medians["bare"], "stored_mib_per_s": medians["stored"], "made_mib_per_s": made,
        "stored_to_bare": medians["stored"] / medians["bare"],
    }  # fmt: skip


def health(socket: Path, kind: str, sampler: str, arguments: argparse.Namespace) -> dict[str, float]:
    """How long Health.Check takes beside streams of one kind."""
    words = ["--streams", str(arguments.streams), "--seconds", str(arguments.seconds)]
    with _process(["-m", "benchmarks.wire", "--child", kind, f"{socket},{sampler}", *words]):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.wire", "--child", "health", str(socket), *words],
            stdout=subprocess.PIPE, check=True, text=True,
        )  # fmt: skip
    taken = sorted(1000 * seconds for seconds in json.loads(done.stdout))
    return {f"health_{kind}_p50_ms": taken[len(taken) // 2], f"health_{kind}_p99_ms": taken[len(taken) * 99 // 100]}


async def _bare(socket: str, arguments: argparse.Namespace) -> None:
    """Streams of bytes, as many messages and as large as the request says; each has bytes of its own, made before."""
    stored: dict[bytes, list[bytes]] = {}

    async def stream(request: bytes, context: Any) -> Any:
        if request not in stored:
            wanted = json.loads(request)
            stored[request] = [bytes([n % 256]) * wanted["size"] for n in range(wanted["count"])]
        for content in stored[request]:
            yield content

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_stream_rpc_method_handler(stream)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Handler()])
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


async def _health(socket: str, arguments: argparse.Namespace) -> None:
    """Seconds of every Health.Check, as JSON."""
    taken = []
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        # The published types of this stub know no methods.
        stub: Any = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest())
        end = time.monotonic() + arguments.seconds
        while time.monotonic() < end:
            started = time.perf_counter()
            await stub.Check(health_pb2.HealthCheckRequest())
            taken.append(time.perf_counter() - started)
            await asyncio.sleep(PAUSE)
    print(json.dumps(taken))


async def _idle(place: str, arguments: argparse.Namespace) -> None:
    print("ready", flush=True)
    await asyncio.sleep(3600)


async def _stored(place: str, arguments: argparse.Namespace) -> None:
    await _read(place, [0] * arguments.streams)


async def _fresh(place: str, arguments: argparse.Namespace) -> None:
    await _read(place, range(1, arguments.streams + 1))


async def _read(place: str, seeds: Sequence[int]) -> None:
    """Read one stream a seed, again and again, until killed."""
    socket, sampler = place.split(",")
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        stub: Any = sampler_service_pb2_grpc.SamplingServiceStub(channel)

        async def read(seed: int, started: asyncio.Event) -> None:
            while True:
                request = sampler_service_pb2.DrawSamplesRequest(
                    sampler=sampler, count=COUNT, seed=seed, omit_sites=True
                )
                async for _ in stub.DrawSamples(request):
                    started.set()
                seed += 1000 * bool(seed)

        events = [asyncio.Event() for _ in seeds]
        tasks = [asyncio.create_task(read(seed, event)) for seed, event in zip(seeds, events, strict=True)]
        await asyncio.gather(*(event.wait() for event in events[:2]))
        print("ready", flush=True)
        await asyncio.gather(*tasks)


_CHILDREN = {"bare": _bare, "health": _health, "idle": _idle, "stored": _stored, "fresh": _fresh}


@contextmanager
def _process(words: Sequence[str], log: Path | None = None) -> Iterator[None]:
    """A Python process that has said that it is ready; killed at the end."""
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=log.open("w") if log else None, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), f"{words} did not start"
        try:
            yield
        finally:
            process.kill()


@contextmanager
def _channel(socket: Path) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        yield channel


def _rate(stream: Callable[[], int]) -> float:
    """MiB/s of one stream, whose bytes it returns."""
    started = time.perf_counter()
    size = stream()
    return size / MIB / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
