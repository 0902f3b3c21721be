"""The client itself: register, train, list, find."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from google.protobuf.message import Message
from grpc import aio

from gephyra.protos import meta_service_pb2, sampler_service_pb2, target_service_pb2, training_service_pb2

from ..channel import Connection, Host, RemoteHost, Stubs
from ..errors import DeadlineExceeded, InvalidArgument, TargetRejected
from ..info import ServerInfo, info_from_message
from ..local import LocalHost
from ..request import full_name, new_request_id
from ..status import error_from_status
from ..upload import move_arrays, sampler_requests
from ..words import TargetState, training_config
from .job import AsyncJob
from .sampler import AsyncSamplerHandle
from .target import AsyncTargetHandle

if TYPE_CHECKING:
    from ..definition import Definition

__all__ = ["AsyncClient"]

_CHECK_SECONDS = 300.0
_IMPORT_SECONDS = 300.0
_PAGE_SIZE = 100

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


class AsyncClient:
    """A client of one server, for asyncio.

    Args:
        address: `host:port`, or `unix:PATH`.
        patience: Seconds without progress after which a broken stream is given up.

    Example:
        async with AsyncClient("localhost:50051") as client:
            job = await client.train("my-posterior", seconds=60)
            sampler = await job.result()
    """

    def __init__(self, address: str, *, patience: float = 30.0) -> None:
        self._connect(RemoteHost(address), patience)

    @classmethod
    def local(cls, folder: str | os.PathLike[str], *, patience: float = 30.0) -> Self:
        """A client with a server of its own, which keeps everything in `folder` and ends with the client.

        The server starts on `async with`, or on the first call. Closing stops its jobs at a checkpoint; opening
        the folder again resumes them. The first call raises FolderLocked if another server owns the folder.
        """
        client = cls.__new__(cls)
        client._connect(LocalHost(folder), patience)
        return client

    def _connect(self, host: Host, patience: float) -> None:
        self._connection = Connection(host, patience)

    async def __aenter__(self) -> Self:
        await self._connection.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def embedded(self) -> bool:
        """True if the server was started by this client and ends with it."""
        return self._connection.host.embedded

    @property
    def address(self) -> str:
        """The server's address; empty for an embedded server before its start."""
        return self._connection.address

    async def close(self) -> None:
        """Close the connection, and end the server if it is embedded."""
        await self._connection.close()

    async def register(
        self, definition: "Definition", name: str | None = None, *, wait: bool = True, timeout: float = _CHECK_SECONDS
    ) -> AsyncTargetHandle:
        """Register a density: what a `from_...` function or `catalogue` returned.

        Args:
            definition: The density. Arrays over 64 KiB are uploaded beside it.
            name: Id of the target: 4 to 63 lower case letters, digits and hyphens; None lets the server make one.
                A name that holds the same content is returned as it is.
            wait: Wait until the server has checked it.
            timeout: Seconds to wait at most.

        Raises:
            TargetRejected: if the check failed; `reason` says why.
            AlreadyExists: if the name holds other content (TARGET_NAME_TAKEN).
            MessageTooLarge: if the program, without its arrays, is over 4 MiB.
            DeadlineExceeded: if the check has not ended in time.
        """
        if not hasattr(definition, "definition"):
            raise InvalidArgument(
                "register takes what from_numpyro, from_pyro, from_jax, from_torch or catalogue returned; "
                f"got {type(definition).__name__}: wrap it, for example gp.from_numpyro(model, data)"
            )
        moved = await move_arrays(self._connection, definition.definition())
        request = target_service_pb2.CreateTargetRequest(
            target_id=(name or "").removeprefix("targets/"), definition=moved, request_id=new_request_id()
        )
        message = await self._connection.unary(lambda stubs: stubs.targets.CreateTarget, request)
        target = AsyncTargetHandle(self._connection, message)
        return await _checked(target, timeout) if wait else target

    async def train(
        self,
        target: AsyncTargetHandle | str,
        method: str = "dbs",
        loss: str = "rkl-ld",
        precondition: str = "gaussian",
        *,
        seconds: float | None = None,
        iterations: int | None = None,
        seed: int = 0,
        steps: int | None = None,
        batch_size: int | None = None,
        width: int | None = None,
        learning_rate: float | None = None,
        learn_diffusion: bool | None = None,
        learn_prior: bool | None = None,
        learn_annealing: bool | None = None,
    ) -> AsyncJob:
        """Start to train a sampler; the job, at once. `(await job.result())` is the sampler.

        Args:
            target: A target, or its name.
            method: `dbs` or `cmcd`.
            loss: `rkl-ld`, `rkl-r` or `lv`.
            precondition: `none`, `diagonal` or `gaussian`.
            seconds: Budget in wall seconds of training; 60 if neither budget is given.
            iterations: Budget in optimiser steps instead.
            seed: Seed of all training noise.
            steps: Transitions a path. None here and below is the server's default.
            batch_size: Paths an optimiser step.
            width: Width of the control networks.
            learning_rate: Peak learning rate.
            learn_diffusion: Learn the diffusion coefficients.
            learn_prior: Learn mean and scale of the prior.
            learn_annealing: Learn the annealing schedule.

        Raises:
            InvalidArgument: naming the field, for an unknown word or a value outside its domain.
            NotFound: if there is no such target.
            FailedPrecondition: if the target is not READY.
        """
        config = training_config(
            method=method,
            loss=loss,
            precondition=precondition,
            seconds=seconds,
            iterations=iterations,
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            width=width,
            learning_rate=learning_rate,
            learn_diffusion=learn_diffusion,
            learn_prior=learn_prior,
            learn_annealing=learn_annealing,
        )
        name = full_name("targets", target) if isinstance(target, str) else target.name
        request = training_service_pb2.CreateTrainingJobRequest(target=name, config=config, request_id=new_request_id())
        message = await self._connection.unary(lambda stubs: stubs.training.CreateTrainingJob, request)
        return AsyncJob(self._connection, message)

    async def load(self, path: str | os.PathLike[str], name: str | None = None) -> AsyncSamplerHandle:
        """Bring a sampler that `sampler.save` wrote into this server.

        Args:
            path: The file.
            name: Id for its target; None keeps the id in the file where that is free.

        Raises:
            InvalidArgument: (SAMPLER_FILE_INVALID) for a file that is damaged or something else.
        """
        requests = sampler_requests(Path(path), (name or "").removeprefix("targets/"), new_request_id())
        message = await self._connection.upload(lambda stubs: stubs.samplers.ImportSampler, requests, _IMPORT_SECONDS)
        return AsyncSamplerHandle(self._connection, message)

    async def target(self, name: str) -> AsyncTargetHandle:
        """The target of this name or id. Raises NotFound."""
        request = target_service_pb2.GetTargetRequest(name=full_name("targets", name))
        message = await self._connection.unary(lambda stubs: stubs.targets.GetTarget, request)
        return AsyncTargetHandle(self._connection, message)

    async def job(self, name: str) -> AsyncJob:
        """The training job of this name or id. Raises NotFound."""
        request = training_service_pb2.GetTrainingJobRequest(name=full_name("trainingJobs", name))
        message = await self._connection.unary(lambda stubs: stubs.training.GetTrainingJob, request)
        return AsyncJob(self._connection, message)

    async def sampler(self, name: str) -> AsyncSamplerHandle:
        """The sampler of this name or id. Raises NotFound."""
        request = sampler_service_pb2.GetSamplerRequest(name=full_name("samplers", name))
        message = await self._connection.unary(lambda stubs: stubs.samplers.GetSampler, request)
        return AsyncSamplerHandle(self._connection, message)

    async def targets(self) -> list[AsyncTargetHandle]:
        """All targets of the server."""
        request = target_service_pb2.ListTargetsRequest(page_size=_PAGE_SIZE)
        pages = await self._pages(lambda stubs: stubs.targets.ListTargets, request)
        return [AsyncTargetHandle(self._connection, message) for page in pages for message in page.targets]

    async def jobs(self) -> list[AsyncJob]:
        """All training jobs of the server."""
        request = training_service_pb2.ListTrainingJobsRequest(page_size=_PAGE_SIZE)
        pages = await self._pages(lambda stubs: stubs.training.ListTrainingJobs, request)
        return [AsyncJob(self._connection, message) for page in pages for message in page.training_jobs]

    async def samplers(self) -> list[AsyncSamplerHandle]:
        """All samplers of the server."""
        request = sampler_service_pb2.ListSamplersRequest(page_size=_PAGE_SIZE)
        pages = await self._pages(lambda stubs: stubs.samplers.ListSamplers, request)
        return [AsyncSamplerHandle(self._connection, message) for page in pages for message in page.samplers]

    async def info(self) -> ServerInfo:
        """What the server says about itself."""
        request = meta_service_pb2.GetServerInfoRequest()
        return info_from_message(await self._connection.unary(lambda stubs: stubs.meta.GetServerInfo, request))

    async def _pages(self, call: "Callable[[Stubs], aio.UnaryUnaryMultiCallable[Q, R]]", request: Q) -> list[Any]:
        """All pages of a list."""
        asked: Any = request
        pages: list[Any] = [await self._connection.unary(call, asked)]
        while pages[-1].next_page_token:
            asked.page_token = pages[-1].next_page_token
            pages.append(await self._connection.unary(call, asked))
        return pages


async def _checked(target: AsyncTargetHandle, timeout: float) -> AsyncTargetHandle:
    """The target once it is READY; raises TargetRejected, or DeadlineExceeded after `timeout` seconds."""
    clock = asyncio.get_running_loop().time
    end, pause = clock() + timeout, 0.02
    while target.state is not TargetState.READY:
        if target.state is TargetState.REJECTED:
            raise error_from_status(target.message.error, TargetRejected)
        if clock() > end:
            raise DeadlineExceeded(f"{target.name} is still being checked after {timeout:.0f} s; see target.refresh()")
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.5)
        await target.refresh()
    return target
