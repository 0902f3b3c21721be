"""How much sooner does a stream of draws arrive when several workers make it?

    python -m benchmarks.fan_out [--workers 2] [--rounds 5] [--draws 20000] [--json]

One sampler that costs something to draw from (a standard normal in ten dimensions, 128 steps of a network of width 64)
is trained for a moment and stored. Two servers draw from it by turns, one with a single worker, one with several, each
on one thread; nothing is remembered between calls, and the streams must be equal byte by byte. What counts of a round
is the ratio of its two times, so that what else the machine does falls on both; the answer is their median. The first
stream of each server, which starts its workers and loads the sampler, is not timed.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from gephyra.clients.definition import catalogue
from gephyra.clients.sync import Client
from gephyra.protos import sampler_service_pb2, sampler_service_pb2_grpc

_TRAINING: dict[str, Any] = {
    "method": "cmcd", "iterations": 20, "batch_size": 16, "steps": 128, "width": 64, "precondition": "none",
}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object to standard output")
    parser.add_argument("--workers", type=int, default=2, help="of the server that has several")
    parser.add_argument("--rounds", type=int, default=5, help="of the two servers in turn")
    parser.add_argument("--draws", type=int, default=20_000, help="in a stream")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gephyra-fan-out-") as folder:
        measured = measure(Path(folder), arguments.workers, arguments.rounds, arguments.draws)
    if arguments.json:
        print(json.dumps(measured))
        return
    print(f"one worker      {measured['one_seconds']:8.2f} s")
    print(f"{arguments.workers} workers       {measured['several_seconds']:8.2f} s")
    print(f"times as fast   {measured['ratio']:8.2f}   rounds: {', '.join(f'{r:.2f}' for r in measured['ratios'])}")


def measure(folder: Path, workers: int, rounds: int, count: int) -> dict[str, Any]:
    """Median seconds of a stream from each server, and of the rounds' ratios. Raises ValueError if streams differ."""
    with _server(folder / "one", 1) as address, Client(address) as client:
        target = client.register(catalogue("gaussian", dim=10))
        sampler = client.train(target, **_TRAINING).result(progress=False).name
    shutil.copytree(folder / "one", folder / "several")
    pairs = []
    with _server(folder / "one", 1) as one, _server(folder / "several", workers) as several:
        for number in range(rounds + 1):
            pair = [_stream(address, sampler, count, seed=number) for address in (one, several)]
            if pair[0][1] != pair[1][1]:
                raise ValueError("the two servers sent different bytes")
            if number:
                pairs.append((pair[0][0], pair[1][0]))
    ratios = [one / several for one, several in pairs]
    return {
        "workers": workers, "draws": count, "one_seconds": statistics.median(one for one, _ in pairs),
        "several_seconds": statistics.median(several for _, several in pairs), "ratio": statistics.median(ratios),
        "ratios": ratios,
    }  # fmt: skip


def _stream(address: str, sampler: str, count: int, seed: int) -> tuple[float, str]:
    """Seconds that a stream took, and its digest."""
    request = sampler_service_pb2.DrawSamplesRequest(sampler=sampler, count=count, seed=seed)
    with grpc.insecure_channel(address) as channel:
        started = time.perf_counter()
        *_, last = sampler_service_pb2_grpc.SamplingServiceStub(channel).DrawSamples(request)
        return time.perf_counter() - started, last.trailer.sha256


@contextmanager
def _server(data: Path, workers: int) -> Iterator[str]:
    """A server of its own process on this folder; its address."""
    words = ["--data", str(data), "--listen", "127.0.0.1:0", "--draw-workers", str(workers), "--draw-cache", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "gephyra.service", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip().rpartition(" ")[2]
        process.terminate()


if __name__ == "__main__":
    main()
