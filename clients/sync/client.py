"""The client itself: register, upload, train, list, find."""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from ..aio import AsyncClient
from ..denoising import DenoisingOptions
from ..info import ServerInfo
from ..request import full_name
from .bridge import Bridge
from .dataset import Dataset
from .job import Job
from .sampler import SamplerHandle
from .target import TargetHandle

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from ..definition import Definition

__all__ = ["Client"]


class Client:
    """A client of one server, or of several that share a database.

    Args:
        address: `host:port`, or `unix:PATH`; of several servers `host:port,host:port`.
        patience: Seconds without progress after which a broken stream is given up.
        tracer_provider: Of OpenTelemetry, for a span a call. None: what its environment variables say, else no spans.

    Example:
        with Client.local("runs") as client:
            target = client.register(catalogue("funnel", dim=10), name="my-funnel")
            sampler = client.train(target, seconds=60).result()
            draws = sampler.draw(4000, seed=1)
    """

    def __init__(
        self, address: str, *, patience: float = 30.0, tracer_provider: "TracerProvider | None" = None
    ) -> None:
        self._begin(AsyncClient(address, patience=patience, tracer_provider=tracer_provider))

    @classmethod
    def local(cls, folder: str | os.PathLike[str], *, patience: float = 30.0) -> Self:
        """A client with a server of its own, which keeps everything in `folder` and ends with the client.

        Closing stops its jobs at a checkpoint; opening the folder again resumes them.

        Raises:
            FolderLocked: if another server owns the folder.
            ServerNotInstalled: without the `server` extra.
            FailedPrecondition: if the server does not start.
        """
        client = cls.__new__(cls)
        client._begin(AsyncClient.local(folder, patience=patience))
        try:
            client._bridge.run(client._twin.__aenter__())
        except BaseException:
            client._bridge.close()
            raise
        return client

    def _begin(self, twin: AsyncClient) -> None:
        self._twin = twin
        self._bridge = Bridge()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def embedded(self) -> bool:
        """True if the server was started by this client and ends with it."""
        return self._twin.embedded

    @property
    def address(self) -> str:
        """The server's address; empty before the first call to a server elsewhere."""
        return self._twin.address

    def close(self) -> None:
        """Close the connection, and end the server if it is embedded; does nothing the second time."""
        if not self._bridge.closed:
            self._bridge.run(self._twin.close())
            self._bridge.close()

    def register(
        self, definition: "Definition", name: str | None = None, *, wait: bool = True, timeout: float = 300.0
    ) -> TargetHandle:
        """Register a density: what a `from_...` function or `catalogue` returned, or a sampler that is a model of data.

        Args:
            definition: The density.
            name: Id of the target; None lets the server make one. A name that holds the same content is returned.
            wait: Wait until the server has checked it.
            timeout: Seconds to wait at most.

        Raises:
            TargetRejected: if the check failed; `reason` says why.
            AlreadyExists: if the name holds other content (TARGET_NAME_TAKEN).
            MessageTooLarge: if the program, without its arrays, is over 4 MiB.
            DeadlineExceeded: if the check has not ended in time.
        """
        twin = self._bridge.run(self._twin.register(definition, name, wait=wait, timeout=timeout))
        return TargetHandle(self._bridge, twin)

    def train(
        self, target: TargetHandle | Dataset | str, method: str | None = None, loss: str | None = None,
        precondition: str | None = None, *, preset: str | None = None, seconds: float | None = None,
        iterations: int | None = None, target_evaluations: int | None = None, goal_ess_fraction: float | None = None,
        goal_gap: float | None = None, start: SamplerHandle | str | None = None, samples: Any = None,
        seed: int = 0, steps: int | None = None, batch_size: int | None = None, width: int | None = None,
        integrator: str | None = None, learning_rate: float | None = None, learn_diffusion: bool | None = None,
        learn_prior: bool | None = None, learn_annealing: bool | None = None, learn_time: bool | None = None,
        diffusion_rate: float | None = None, prior_rate: float | None = None, annealing_rate: float | None = None,
        time_rate: float | None = None, reward_to_go: bool | None = None, ema: float | None = None,
        device: str | None = None, precision: str | None = None, workers: int | None = None,
        **model: Unpack[DenoisingOptions],
    ) -> Job:  # fmt: skip
        """Start to train a sampler of a target, or a model of a data set; the job, at once.

        `job.result()` waits for the sampler. A target or a data set, or the name of one, is enough; an id alone is that
        of a data set if the method is `denoising`. The budget is one of preset, seconds, iterations and
        target_evaluations. None leaves an option to the server: `AsyncClient.train`, whose arguments these are, lists
        the words and the defaults, `DenoisingOptions` what only a model of a data set has.

        Raises:
            InvalidArgument: naming the field, for an unknown word, a value outside its domain, or options that do not
                go together (INCONSISTENT_SETTINGS).
            NotFound: if there is no such target or data set, or no such sampler to start from.
            FailedPrecondition: if the target is not READY.
        """
        training = self._twin.train(
            target if isinstance(target, str) else target.name,
            method=method, loss=loss, precondition=precondition, preset=preset, seconds=seconds, iterations=iterations,
            target_evaluations=target_evaluations, goal_ess_fraction=goal_ess_fraction, goal_gap=goal_gap,
            start=None if start is None else full_name("samplers", start),
            samples=samples.name if isinstance(samples, Dataset) else samples, seed=seed, steps=steps,
            batch_size=batch_size, width=width, integrator=integrator, learning_rate=learning_rate,
            learn_diffusion=learn_diffusion, learn_prior=learn_prior, learn_annealing=learn_annealing,
            learn_time=learn_time, diffusion_rate=diffusion_rate, prior_rate=prior_rate,
            annealing_rate=annealing_rate, time_rate=time_rate, reward_to_go=reward_to_go, ema=ema, device=device,
            precision=precision, workers=workers, **model,
        )  # fmt: skip
        return Job(self._bridge, self._bridge.run(training))

    def upload(
        self, data: Any, name: str | None = None, *, columns: Sequence[str] | None = None,
        display_name: str | None = None, progress: bool = True,
    ) -> Dataset:  # fmt: skip
        """Send a table of numbers, a row an observation. Bytes that the server knows already are not sent again.

        Args:
            data: An array or nested lists, `rows x columns`; a torch tensor; a pandas DataFrame; or the path of a .csv,
                .tsv, .npy or .parquet file (the `parquet` extra).
            name: Id of the data set; None lets the server make one. A name that holds the same content is returned.
            columns: Names of the columns; by default those of the data, else x0, x1, ...
            display_name: For people; by default the file's name.
            progress: Show a bar, where there is a terminal or a notebook to show it.

        Raises:
            InvalidArgument: With `reason` and, in `metadata`, the first `row` and `column` at fault.
            AlreadyExists: if the name holds other content (DATASET_NAME_TAKEN).
        """
        sending = self._twin.upload(data, name, columns=columns, display_name=display_name, progress=progress)
        return Dataset(self._bridge, self._bridge.run(sending))

    def load(self, path: str | os.PathLike[str], name: str | None = None) -> SamplerHandle:
        """Bring a sampler that `sampler.save` wrote into this server.

        Args:
            path: The file.
            name: Id for its target; None keeps the id in the file where that is free.

        Raises:
            InvalidArgument: (SAMPLER_FILE_INVALID) for a file that is damaged or something else.
        """
        return SamplerHandle(self._bridge, self._bridge.run(self._twin.load(path, name)))

    def target(self, name: str) -> TargetHandle:
        """The target of this name or id. Raises NotFound."""
        return TargetHandle(self._bridge, self._bridge.run(self._twin.target(name)))

    def job(self, name: str) -> Job:
        """The training job of this name or id. Raises NotFound."""
        return Job(self._bridge, self._bridge.run(self._twin.job(name)))

    def sampler(self, name: str) -> SamplerHandle:
        """The sampler of this name or id. Raises NotFound."""
        return SamplerHandle(self._bridge, self._bridge.run(self._twin.sampler(name)))

    def dataset(self, name: str) -> Dataset:
        """The data set of this name or id. Raises NotFound."""
        return Dataset(self._bridge, self._bridge.run(self._twin.dataset(name)))

    def targets(self) -> list[TargetHandle]:
        """All targets of the server."""
        return [TargetHandle(self._bridge, twin) for twin in self._bridge.run(self._twin.targets())]

    def jobs(self) -> list[Job]:
        """All training jobs of the server."""
        return [Job(self._bridge, twin) for twin in self._bridge.run(self._twin.jobs())]

    def samplers(self) -> list[SamplerHandle]:
        """All samplers of the server."""
        return [SamplerHandle(self._bridge, twin) for twin in self._bridge.run(self._twin.samplers())]

    def datasets(self) -> list[Dataset]:
        """All data sets of the server; `refresh` brings the facts of their columns."""
        return [Dataset(self._bridge, twin) for twin in self._bridge.run(self._twin.datasets())]

    def info(self) -> ServerInfo:
        """What the server says about itself."""
        return self._bridge.run(self._twin.info())
