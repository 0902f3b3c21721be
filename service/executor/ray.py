"""Workers on the machines of a Ray cluster. Ray places them, watches them and ends them, and knows nothing else.

One actor a worker asks for its processors and GPUs, and starts the worker process that LocalExecutor would start here
(`agent`). Actors are never restarted, and end with this process' connection to the cluster.
"""

import asyncio
import logging
import os
import signal
import socket
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from google.protobuf.message import DecodeError
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

import gephyra
from gephyra.protos import worker_pb2

from ..errors import Reason, Unavailable
from .agent import Agent
from .base import Executor, Exit, NoPlace, Resources, Worker, WorkerSpec
from .local import log_tail

__all__ = ["RayExecutor", "RayWorker"]

logger = logging.getLogger(__name__)

# A call that waits for messages comes back after so long, at the latest.
_POLL_SECONDS = 10.0
# For an agent's answer that needs no waiting, its process' end included.
_ANSWER_SECONDS = 15.0
# For the cluster to notice that a machine is gone: by default it looks five times, three seconds apart.
_NOTICE_SECONDS = 30.0
_LOOK_SECONDS = 0.25
# For the first connection to a cluster.
_REACH_SECONDS = 10.0
# A worker that has no place yet is told of so often.
_WAITING_SECONDS = 30.0
# Calls of the server in the time after which an agent believes it dead.
_SIGNS = 4


class RayWorker(Worker):
    """A worker behind an actor.

    Args:
        agent: Handle of the actor, which has started it.
        node: Of the cluster, where it is.
        pid: Its process id there.
        log: Of its standard streams, in the shared folder.
        ended: Called once, when it was closed.

    Attributes:
        node: As given.
        pid: As given.
    """

    def __init__(self, agent: Any, node: str, pid: int, log: Path, ended: Callable[["RayWorker"], None]) -> None:
        self.node, self.pid = node, pid
        self._agent = agent
        self._log = log
        self._ended = ended
        self._gone = False
        self._waiting: deque[bytes] = deque()
        self._fetching: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[Exit] | None = None

    @property
    def alive(self) -> bool:
        return not self._gone

    async def send(self, command: worker_pb2.WorkerCommand) -> None:
        with suppress(RayError):
            await self._agent.send.remote(command.SerializeToString())

    async def receive(self) -> worker_pb2.WorkerEvent | None:
        while not self._waiting:
            if self._gone:
                return None
            if self._fetching is None or self._fetching.done():
                self._fetching = asyncio.create_task(self._fetch())
            # Goes on if this is cancelled: what it fetches is not lost.
            await asyncio.wait([self._fetching])
        try:
            return worker_pb2.WorkerEvent.FromString(self._waiting.popleft())
        except DecodeError:
            self.kill()
            return None

    def terminate(self) -> None:
        if not self._gone:
            self._agent.terminate.remote()

    def kill(self) -> None:
        if not self._gone:
            self._agent.kill.remote()

    async def close(self, seconds: float = 0.0) -> Exit:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(seconds))
        return await asyncio.shield(self._closing)

    def log_tail(self) -> str:
        return log_tail(self._log)

    async def beat(self) -> None:
        """Tell its agent that this server lives, and hear of the agent's end."""
        try:
            await self._agent.hear.remote()
        except RayError:
            self._gone = True

    async def _fetch(self) -> None:
        try:
            messages = await self._agent.receive.remote(_POLL_SECONDS)
        except RayError as error:
            logger.warning("the agent of worker %d on node %s: %s", self.pid, self.node, _first_line(error))
            messages = None
        if messages is None:
            self._gone = True
        else:
            self._waiting.extend(messages)

    async def _close(self, seconds: float) -> Exit:
        try:
            async with asyncio.timeout(seconds + _ANSWER_SECONDS):
                return Exit(await self._agent.close.remote(seconds))
        except RayError:
            return await self._lost()
        except TimeoutError:
            return Exit(-signal.SIGKILL, f"its agent on node {self.node} does not answer")
        finally:
            self._gone = True
            await _end(self._agent)
            self._ended(self)

    async def _lost(self) -> Exit:
        """Why its agent cannot be reached: with its node, or by itself, as where Ray ends it for want of memory."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_NOTICE_SECONDS):
                while await self._unavailable():
                    await asyncio.sleep(_LOOK_SECONDS)
        nodes = await asyncio.to_thread(ray.nodes)
        if any(node["NodeID"] == self.node and node["Alive"] for node in nodes):
            return Exit(-signal.SIGKILL)
        return Exit(-signal.SIGKILL, f"the node {self.node} of the cluster is gone")

    async def _unavailable(self) -> bool:
        """Whether the cluster does not know yet if the agent is dead."""
        try:
            await self._agent.hear.remote()
        except ActorUnavailableError:
            return True
        except RayError:
            return False
        return False


class RayExecutor(Executor):
    """Starts workers wherever the cluster has room. `connect` makes one.

    Args:
        silence: Workers end after so many seconds in which this server was not heard of.
    """

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._workers: dict[RayWorker, Resources] = {}
        # Of those that need the same, one at a time is looking for its place.
        self._turns: defaultdict[Resources, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._beating: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._closed = False

    @classmethod
    def connect(cls, address: str, silence: float) -> "RayExecutor":
        """Join the cluster at `address`: `auto` for the one of this machine, or host:port. Raises ConnectionError."""
        # The second: a call after the end of the connection is an error, not the start of a cluster.
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_AUTO_CONNECT": "0"}
        try:
            _reach(address)
            with warnings.catch_warnings():
                # Of a change in what actors without GPUs will see; `start` says it to workers itself.
                warnings.simplefilter("ignore", FutureWarning)
                ray.init(address=address, namespace="gephyra", log_to_driver=False, configure_logging=False)
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise ConnectionError(
                f"there is no Ray cluster at {address!r}, or this machine is not one of its nodes: {_first_line(error)}"
            ) from error
        return cls(silence)

    async def start(self, spec: WorkerSpec) -> RayWorker:
        if self._closed:
            raise NoPlace("the executor is closed")
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())
        actor = ray.remote(Agent).options(
            num_cpus=spec.cpus, num_gpus=spec.gpus, max_restarts=0, max_task_retries=0
        )  # fmt: skip
        if not spec.gpus:
            # Those of its node are others'.
            spec = replace(spec, environment={**spec.environment, "CUDA_VISIBLE_DEVICES": ""})
        agent = None
        try:
            # Ray keeps no order: of two teams that need the last places each might get one, and wait for ever.
            async with self._turns[spec.needs]:
                agent = actor.remote(self._silence)
                await self._placed(agent, spec)
            worker = await self._started(agent, spec)
        except BaseException:
            if agent is not None:
                await asyncio.shield(self._later(_end(agent)))
            raise
        self._workers[worker] = spec.needs
        return worker

    async def capacity(self) -> Resources:
        found = await asyncio.to_thread(ray.cluster_resources)
        return Resources(found.get("CPU", 0.0), found.get("GPU", 0.0))

    @property
    def in_use(self) -> Resources:
        return sum(self._workers.values(), Resources(0, 0))

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(worker.close() for worker in list(self._workers)))
        if self._beating is not None:
            self._beating.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.to_thread(ray.shutdown)

    async def _placed(self, agent: Any, spec: WorkerSpec) -> None:
        placing = asyncio.create_task(_call(agent.hear))
        try:
            while not (await asyncio.wait([placing], timeout=_WAITING_SECONDS))[0]:
                logger.warning("no node of the cluster has room for a worker that needs %s; it waits", spec.needs)
            placing.result()
        except RayError as error:
            raise Unavailable(Reason.WORKER_DIED, f"a worker has no place: {_first_line(error)}") from error
        finally:
            placing.cancel()

    async def _started(self, agent: Any, spec: WorkerSpec) -> RayWorker:
        try:
            version, pid, node = await agent.start.remote(spec)
        except RayTaskError as error:
            raise OSError(f"a worker cannot be started on its node: {error.cause}") from error
        except RayError as error:
            raise Unavailable(
                Reason.WORKER_DIED, f"a worker's node was lost at its start: {_first_line(error)}"
            ) from error
        if version != gephyra.__version__:
            raise OSError(f"node {node} has gephyra {version}, this server is {gephyra.__version__}: install the same")
        return RayWorker(agent, node, pid, spec.log, self._forget)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._silence / _SIGNS)
            for worker in self._workers:
                # Not one after the other: one that does not answer is not to keep the others waiting.
                self._later(worker.beat())

    def _later(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def _forget(self, worker: RayWorker) -> None:
        del self._workers[worker]


async def _call(method: Any) -> None:
    await method.remote()


async def _end(agent: Any) -> None:
    """End an actor, or its wish for a place, and so what it started."""
    with suppress(RayError, ValueError):
        await asyncio.to_thread(ray.kill, agent)


def _reach(address: str) -> None:
    """Raises OSError or ValueError at once where Ray itself would try for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
