"""Beside a worker on another machine: starts it, carries its messages as they are, ends it. An actor of Ray.

The messages of a worker, which runs foreign programs, are bytes here and stay so: what Ray pickles and unpickles is a
list of bytes that this module made.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import ray

import gephyra

from .base import WorkerSpec
from .process import WorkerProcess

__all__ = ["Agent", "Messages", "Started"]

# Of messages that are carried together; a longer one goes alone.
_BATCH_BYTES = 4 << 20
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


class Messages:
    """Reads messages ahead, one at a time, so that giving up waiting loses none.

    Args:
        read: Awaits the next message; None at the end, and from then on.
    """

    def __init__(self, read: Callable[[], Coroutine[Any, Any, bytes | None]]) -> None:
        self._read = read
        self._reading: asyncio.Task[bytes | None] | None = None

    async def take(self, seconds: float) -> list[bytes] | None:
        """What there is, after waiting up to `seconds` for the first: nothing, one or several; None: no more ever."""
        messages, size = list[bytes](), 0
        while size < _BATCH_BYTES:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read())
            await asyncio.wait([self._reading], timeout=0 if messages else seconds)
            if not self._reading.done():
                return messages
            message = self._reading.result()
            if message is None:
                return messages or None
            self._reading = None
            messages.append(message)
            size += len(message)
        return messages


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
        self._messages = Messages(self._process.receive)
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
        """As Messages.take."""
        await self.hear()
        return await self._messages.take(seconds)

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
