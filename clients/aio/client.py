"""The client itself: register, upload, train, list, find."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from gephyra.protos import (
    dataset_service_pb2,
    meta_service_pb2,
    sampler_service_pb2,
    target_service_pb2,
    training_service_pb2,
)

from ..addresses import RemoteHost
from ..channel import Connection, Host
from ..denoising import DenoisingOptions
from ..errors import InvalidArgument, NotFound
from ..info import ServerInfo, info_from_message
from ..local import LocalHost
from ..request import full_name, new_request_id
from ..tracing import tracing
from ..training import job_request
from ..upload import import_sampler, move_arrays
from .dataset import AsyncDataset, explained, sent, upload
from .job import AsyncJob
from .sampler import AsyncSamplerHandle
from .target import AsyncTargetHandle, checked

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from ..definition import Definition

__all__ = ["AsyncClient"]

_CHECK_SECONDS = 300.0
_PAGE_SIZE = 100


class AsyncClient:
    """A client of one server, or of several that share a database, for asyncio.

    Args:
        address: `host:port`, or `unix:PATH`; of several servers `host:port,host:port`.
        patience: Seconds without progress after which a broken stream is given up.
        tracer_provider: Of OpenTelemetry, for a span a call. None: what its environment variables say, else no spans.

    Example:
        async with AsyncClient("localhost:50051") as client:
            job = await client.train("my-posterior", seconds=60)
            sampler = await job.result()
    """

    def __init__(
        self, address: str, *, patience: float = 30.0, tracer_provider: "TracerProvider | None" = None
    ) -> None:
        self._connect(RemoteHost(address), patience, tracer_provider)

    @classmethod
    def local(cls, folder: str | os.PathLike[str], *, patience: float = 30.0) -> Self:
        """A client with a server of its own, which keeps everything in `folder` and ends with the client.

        The server starts on `async with`, or on the first call. Closing stops its jobs at a checkpoint; opening
        the folder again resumes them. The first call raises FolderLocked if another server owns the folder.
        """
        client = cls.__new__(cls)
        client._connect(LocalHost(folder), patience, None)
        return client

    def _connect(self, host: Host, patience: float, provider: "TracerProvider | None") -> None:
        self._connection = Connection(host, patience, tracing(provider))

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
        """Register a density: what a `from_...` function or `catalogue` returned, or a sampler that is a model of data.

        Args:
            definition: The density. Arrays over 64 KiB are uploaded beside it. A model of data has that of its
                probability flow, with log Z = 0, in at most 100 dimensions; the target outlives the sampler.
            name: Id of the target: 4 to 63 lower case letters, digits and hyphens; None lets the server make one.
                A name that holds the same content is returned as it is.
            wait: Wait until the server has checked it.
            timeout: Seconds to wait at most.

        Raises:
            TargetRejected: if the check failed; `reason` says why.
            AlreadyExists: if the name holds other content (TARGET_NAME_TAKEN).
            InvalidArgument: for a sampler of a target, or a model of data on levels (SAMPLER_UNSUITED).
            MessageTooLarge: if the program, without its arrays, is over 4 MiB.
            DeadlineExceeded: if the check has not ended in time.
        """
        if not hasattr(definition, "definition"):
            raise InvalidArgument(
                "register takes what from_numpyro, from_pyro, from_jax, from_torch, catalogue returned, or a sampler; "
                f"got {type(definition).__name__}: wrap it, for example gp.from_numpyro(model, data)"
            )
        moved = await move_arrays(self._connection, definition.definition())
        request = target_service_pb2.CreateTargetRequest(
            target_id=(name or "").removeprefix("targets/"), definition=moved, request_id=new_request_id()
        )
        message = await self._connection.unary(lambda stubs: stubs.targets.CreateTarget, request)
        target = AsyncTargetHandle(self._connection, message)
        return await checked(target, timeout) if wait else target

    async def train(
        self, target: AsyncTargetHandle | AsyncDataset | str, method: str | None = None, loss: str | None = None,
        precondition: str | None = None, *, preset: str | None = None, seconds: float | None = None,
        iterations: int | None = None, target_evaluations: int | None = None, goal_ess_fraction: float | None = None,
        goal_gap: float | None = None, start: AsyncSamplerHandle | str | None = None, samples: Any = None,
        seed: int = 0, steps: int | None = None, batch_size: int | None = None, width: int | None = None,
        integrator: str | None = None, learning_rate: float | None = None, learn_diffusion: bool | None = None,
        learn_prior: bool | None = None, learn_annealing: bool | None = None, learn_time: bool | None = None,
        diffusion_rate: float | None = None, prior_rate: float | None = None, annealing_rate: float | None = None,
        time_rate: float | None = None, reward_to_go: bool | None = None, ema: float | None = None,
        device: str | None = None, precision: str | None = None, workers: int | None = None,
        **model: Unpack[DenoisingOptions],
    ) -> AsyncJob:  # fmt: skip
        """Start to train a sampler of a target, or a model of a data set; the job, at once.

        `(await job.result())` is the sampler.

        None leaves an option to the server; what it then takes stands below.

        Args:
            target: A target or a data set, or its name; an id alone is that of a data set if the method says so.
            method: `dbs` (default), `cmcd`, `dis`, `dds`, `ddpm` (made for warm starts), `pis`, `mcd` or `ula`;
                underdamped `dbs-ud`, `cmcd-ud`, `dis-ud`, `mcd-ud` or `ula-ud`. Of a data set: `denoising`.
            loss: `rkl-ld` (default), `rkl-r`, `rkl-stl`, `lv`, `tr-lv`, `tb`, `subtb` or `fkl`.
            precondition: `none`, `diagonal`, `gaussian`, `annealed` or `auto` (default).
            preset: Budget by a word: `quick` (15 s), `standard` (60 s, if no budget is given), `thorough` (300 s).
            seconds: Budget in wall seconds of training instead.
            iterations: Budget in optimiser steps instead.
            target_evaluations: Budget in points at which the target is evaluated instead, preconditioning included.
            goal_ess_fraction: End before the budget at this effective sample size over number of paths, in (0, 1).
            goal_gap: End before the budget at this log Z - ELBO, in nats.
            start: A sampler of this target, or its name, to go on from: its coordinates and parameters. Method,
                integrator, steps and width are then its own and may be left out.
            samples: Draws of this target to start from, whose column i is its unconstrained coordinate i: a data set or
                its name, or anything else that `upload` takes. Half of the distinct rows train, the others are for the
                report.
            seed: Seed of all training noise.
            steps: Transitions a path; 32.
            batch_size: Paths an optimiser step; 256.
            width: Width of the control networks; 64.
            integrator: Of an underdamped method: `obab` (default) or `obabo`.
            learning_rate: Peak learning rate; 0.005.
            learn_diffusion: Learn the diffusion coefficients (underdamped: friction and step size). This and the next
                three are on.
            learn_prior: Learn mean and scale of the prior.
            learn_annealing: Learn the annealing schedule.
            learn_time: Learn the share of time of each step.
            diffusion_rate: How fast, as a multiple of the learning rate, at most 100; 1, as for the next three.
            prior_rate: Likewise for the prior.
            annealing_rate: Likewise for the annealing schedule.
            time_rate: Likewise for the shares of time.
            reward_to_go: Weigh each forward kernel by what comes after it only (loss `rkl-ld`); off.
            ema: Decay a step of the averaged parameters that the sampler keeps, in [0, 1); 0, the last ones.
            device: `auto` (default: a GPU where the server has one), `cpu` or `cuda`.
            precision: `float32` (default) or `float64`, of states and networks; weights are always float64.
            workers: Processes that share the paths of a step, up to rounding the same run; 1.
            **model: What only a model of data has: see DenoisingOptions, also for its other defaults.

        Raises:
            InvalidArgument: naming the field, for an unknown word, a value outside its domain, or options that do not
                go together (INCONSISTENT_SETTINGS).
            NotFound: if there is no such target or data set, or no such sampler to start from.
            FailedPrecondition: if the target is not READY.
        """
        options: dict[str, Any] = dict(
            method=method, loss=loss, precondition=precondition, preset=preset, seconds=seconds, iterations=iterations,
            target_evaluations=target_evaluations, goal_ess_fraction=goal_ess_fraction, goal_gap=goal_gap,
            start=None if start is None else full_name("samplers", start),
            samples=await sent(self._connection, samples), seed=seed, steps=steps, batch_size=batch_size, width=width,
            integrator=integrator, learning_rate=learning_rate, learn_diffusion=learn_diffusion,
            learn_prior=learn_prior, learn_annealing=learn_annealing, learn_time=learn_time,
            diffusion_rate=diffusion_rate, prior_rate=prior_rate, annealing_rate=annealing_rate, time_rate=time_rate,
            reward_to_go=reward_to_go, ema=ema, device=device, precision=precision, workers=workers,
        )  # fmt: skip
        request = job_request(target, options, model)
        try:
            message = await self._connection.unary(lambda stubs: stubs.training.CreateTrainingJob, request)
        except NotFound as error:
            raise await explained(self._connection, request.target, error) from None
        return AsyncJob(self._connection, message)

    async def upload(
        self, data: Any, name: str | None = None, *, columns: Sequence[str] | None = None,
        display_name: str | None = None, progress: bool = True,
    ) -> AsyncDataset:  # fmt: skip
        """Send a table of numbers, a row an observation. Bytes that the server knows already are not sent again.

        Args:
            data: An array or nested lists, `rows x columns`; a torch tensor; a pandas DataFrame; or the path of a .csv,
                .tsv, .npy or .parquet file (the `parquet` extra).
            name: Id of the data set: 4 to 63 lower case letters, digits and hyphens; None lets the server make one.
                A name that holds the same content is returned as it is.
            columns: Names of the columns; by default those of the data, else x0, x1, ...
            display_name: For people; by default the file's name.
            progress: Show a bar, where there is a terminal or a notebook to show it.

        Raises:
            InvalidArgument: With `reason` and, in `metadata`, the first `row` and `column` at fault.
            AlreadyExists: if the name holds other content (DATASET_NAME_TAKEN).
        """
        return await upload(self._connection, data, name, columns, display_name, progress)

    async def load(self, path: str | os.PathLike[str], name: str | None = None) -> AsyncSamplerHandle:
        """Bring a sampler that `sampler.save` wrote into this server.

        Args:
            path: The file.
            name: Id for its target; None keeps the id in the file where that is free.

        Raises:
            InvalidArgument: (SAMPLER_FILE_INVALID) for a file that is damaged or something else.
        """
        message = await import_sampler(self._connection, Path(path), (name or "").removeprefix("targets/"))
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

    async def dataset(self, name: str) -> AsyncDataset:
        """The data set of this name or id. Raises NotFound."""
        request = dataset_service_pb2.GetDatasetRequest(name=full_name("datasets", name))
        message = await self._connection.unary(lambda stubs: stubs.datasets.GetDataset, request)
        return AsyncDataset(self._connection, message)

    async def targets(self) -> list[AsyncTargetHandle]:
        """All targets of the server."""
        request = target_service_pb2.ListTargetsRequest(page_size=_PAGE_SIZE)
        pages = await self._connection.pages(lambda stubs: stubs.targets.ListTargets, request)
        return [AsyncTargetHandle(self._connection, message) for page in pages for message in page.targets]

    async def jobs(self) -> list[AsyncJob]:
        """All training jobs of the server."""
        request = training_service_pb2.ListTrainingJobsRequest(page_size=_PAGE_SIZE)
        pages = await self._connection.pages(lambda stubs: stubs.training.ListTrainingJobs, request)
        return [AsyncJob(self._connection, message) for page in pages for message in page.training_jobs]

    async def samplers(self) -> list[AsyncSamplerHandle]:
        """All samplers of the server."""
        request = sampler_service_pb2.ListSamplersRequest(page_size=_PAGE_SIZE)
        pages = await self._connection.pages(lambda stubs: stubs.samplers.ListSamplers, request)
        return [AsyncSamplerHandle(self._connection, message) for page in pages for message in page.samplers]

    async def datasets(self) -> list[AsyncDataset]:
        """All data sets of the server; `refresh` brings the facts of their columns."""
        request = dataset_service_pb2.ListDatasetsRequest(page_size=_PAGE_SIZE)
        pages = await self._connection.pages(lambda stubs: stubs.datasets.ListDatasets, request)
        return [AsyncDataset(self._connection, message) for page in pages for message in page.datasets]

    async def info(self) -> ServerInfo:
        """What the server says about itself."""
        request = meta_service_pb2.GetServerInfoRequest()
        return info_from_message(await self._connection.unary(lambda stubs: stubs.meta.GetServerInfo, request))
