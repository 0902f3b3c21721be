"""`python -m tests.support.crowd JSON`: callers of one server, in a process of their own; prints what became of them.

JSON has `socket`, `sampler` and `target`, `count` (draws a call), `seconds`, and either `callers`, each of which calls
again as soon as it was served, or `rate`, calls a second that begin whether or not earlier ones were answered. Every
fourth call evaluates the target, the others draw, each from a seed of its own. `health` instead: asks for that every so
many seconds. Times are in milliseconds.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gephyra.protos import sampler_service_pb2, sampler_service_pb2_grpc, target_service_pb2, target_service_pb2_grpc
from gephyra.service.tensors import to_tensor
from tests.support.refusal import Refusal, refusal_of

_DIM = 3


class Crowd:
    """The calls of this process."""

    def __init__(self, wanted: dict[str, Any], channel: grpc.aio.Channel) -> None:
        self._wanted, self._calls = wanted, 0
        # The published types of these stubs are those of another kind of channel.
        self._sampling: Any = sampler_service_pb2_grpc.SamplingServiceStub(channel)
        self._targets: Any = target_service_pb2_grpc.TargetServiceStub(channel)
        self._points = to_tensor(np.zeros((64, _DIM)))
        self.served: list[float] = []
        self.refused: list[float] = []
        self.other: Counter[str] = Counter()

    async def call(self) -> None:
        """One call, whatever becomes of it."""
        number, began = self._calls, time.perf_counter()
        self._calls += 1
        try:
            await (self._evaluate() if number % 4 == 3 else self._draw(number))
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error)
            busy = refusal.reason == "SERVER_BUSY" and refusal.retry_seconds > 0
            told = self.refused.append if busy else lambda _: self._count(refusal)
            told(1000 * (time.perf_counter() - began))
        else:
            self.served.append(1000 * (time.perf_counter() - began))

    async def _draw(self, seed: int) -> None:
        request = sampler_service_pb2.DrawSamplesRequest(
            sampler=self._wanted["sampler"], count=self._wanted["count"], seed=seed + self._wanted["seed"]
        )
        async for _ in self._sampling.DrawSamples(request):
            pass

    async def _evaluate(self) -> None:
        request = target_service_pb2.EvaluateTargetRequest(name=self._wanted["target"], x=self._points)
        await self._targets.EvaluateTarget(request)

    def _count(self, refusal: Refusal) -> None:
        self.other[f"{refusal.code.name} {refusal.reason}: {refusal.message}"] += 1


async def _closed(crowd: Crowd, callers: int, end: float) -> None:
    async def repeat() -> None:
        while time.monotonic() < end:
            await crowd.call()

    await asyncio.gather(*(repeat() for _ in range(callers)))


async def _open(crowd: Crowd, rate: float, end: float) -> None:
    tasks: set[asyncio.Task[None]] = set()
    failed: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            failed.append(error)

    due = time.monotonic()
    while due < end:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.create_task(crowd.call())
        tasks.add(task)
        task.add_done_callback(ended)
        due += 1 / rate
    left = list(tasks)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    if failed:
        raise failed[0]


async def _health(channel: grpc.aio.Channel, every: float, end: float) -> dict[str, Any]:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    await stub.Check(health_pb2.HealthCheckRequest())
    taken, bad = [], 0
    while time.monotonic() < end:
        began = time.perf_counter()
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        taken.append(1000 * (time.perf_counter() - began))
        bad += answer.status != health_pb2.HealthCheckResponse.SERVING
        await asyncio.sleep(every)
    return {"health": taken, "bad": bad}


async def main(wanted: dict[str, Any]) -> dict[str, Any]:
    """What became of the calls."""
    end = time.monotonic() + wanted["seconds"]
    async with grpc.aio.insecure_channel(f"unix:{wanted['socket']}") as channel:
        if "health" in wanted:
            return await _health(channel, wanted["health"], end)
        crowd = Crowd(wanted, channel)
        await channel.channel_ready()
        if "callers" in wanted:
            await _closed(crowd, wanted["callers"], end)
        else:
            await _open(crowd, wanted["rate"], end)
        return {"served": crowd.served, "refused": crowd.refused, "other": crowd.other}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
