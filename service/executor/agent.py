"""Beside a worker on another machine: starts it, carries its messages as they are, ends it. An actor of Ray.

The messages of a worker, which runs foreign programs, are bytes here and stay so: what Ray pickles and unpickles is a
list of bytes that this module made.
"""

import asyncio
import os
from typing import NamedTuple

import ray

import gephyra

from .base import WorkerSpec
from .process import WorkerProcess

__all__ = ["Agent", "Started"]

# How the process ends whose server was not heard of; Ray does not start it again.
_UNHEARD = 3


class Started(NamedTuple):
    """What the agent tells of itself."""

    version: str
    """Of gephyra, on its machine."""
    pid: int
    """Of the worker."""
    node: str
    """Of the cluster, where both are."""


class Agent:
    """The keeper of one worker. It ends with its worker closed, with its server's job, or by itself.

    Args:
        silence: After so many seconds without a call it ends the worker and itself: its server is gone.
    """

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._heard = 0.0

    async def start(self, spec: WorkerSpec) -> Started:
        """Start the worker. Raises OSError."""
        self._process = await WorkerProcess.start(spec)
        await self.hear()
        self._watching = asyncio.create_task(self._watch())
        return Started(gephyra.__version__, self._process.pid, ray.get_runtime_context().get_node_id())

    async def hear(self) -> None:
        """The server is there."""
        self._heard = asyncio.get_running_loop().time()

    async def send(self, message: bytes) -> None:
        """As WorkerProcess."""
        await self._process.send(message)

    async def receive(self, seconds: float) -> list[bytes] | None:
        """As WorkerProcess.receive_some."""
        await self.hear()
        return await self._process.receive_some(seconds)

    async def terminate(self) -> None:
        """As WorkerProcess."""
        self._process.terminate()

    async def kill(self) -> None:
        """As WorkerProcess."""
        self._process.kill()

    async def close(self, seconds: float) -> int:
        """As WorkerProcess."""
        return await self._process.close(seconds)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._heard + self._silence - loop.time()) > 0:
            await asyncio.sleep(left)
        self._process.kill()
        os._exit(_UNHEARD)
