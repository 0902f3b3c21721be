"""Trained samplers: evidence, draws, files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gephyra.protos import sampler_service_pb2

from ..aio.sampler import AsyncSamplerHandle
from ..evidence import Evidence
from ..facts import Facts
from ..likelihood import HeldOut
from ..sampler_facts import SamplerFacts
from .bridge import Bridge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from ..draws import Draws

__all__ = ["SamplerHandle"]


class SamplerHandle(SamplerFacts):
    """A trained sampler, of a target or of a data set: what it says of itself, draws, likelihoods, its file."""

    def __init__(self, bridge: Bridge, twin: AsyncSamplerHandle) -> None:
        self._bridge = bridge
        self._twin = twin

    @property
    def message(self) -> sampler_service_pb2.Sampler:
        """The server's record."""
        return self._twin.message

    def evidence(self, n: int | None = None, seed: int | None = None) -> Evidence:
        """log Z, ELBO and how far the weights can be trusted.

        Without arguments: the report made once after training. With `n` fresh paths, `seed` of their noise, or
        both: an estimate of its own (`Evidence.stored` is False), by default with the report's number of paths.

        Raises FailedPrecondition (SAMPLER_UNSUITED) for a model of data, which has no Z: ask it for `nll`.
        """
        return self._bridge.run(self._twin.evidence(n, seed))

    def draw(
        self, n: int, seed: int = 0, start: int = 0, chunk_size: int = 0, *, sites: bool = True, resample: bool = False,
        smc: bool = False, polish: str | None = None, polish_steps: int | None = None, solver: str | None = None,
        solver_steps: int | None = None,
    ) -> "Draws":  # fmt: skip
        """Draws start, ..., start + n - 1 of the stream of `seed`, with their log weights.

        Draw i depends on the sampler, the seed and i alone. A stream that breaks is resumed where it broke.

        Args:
            n: How many.
            seed: Which stream, in [0, 2**64).
            start: Index of the first.
            chunk_size: Draws a message, at most; 0 leaves it to the server. It changes no draw.
            sites: Whether to bring the model's own sites along.
            resample: Resample on the server, within blocks of fixed size.
            smc: Resample along the paths too: for `cmcd`, `mcd`, `ula` and their underdamped kin.
            polish: Metropolis steps: `none`, `imh`, `mala` or `imh-mala`; `AsyncSamplerHandle.draw` says what they do.
            polish_steps: MALA steps; 10.
            solver: Of a model of data: `ancestral`, `ancestral-large`, `ddim`, `dpm-solver`, `heun`, `euler-maruyama`
                or `flow`; by default as it was trained.
            solver_steps: Steps of the solver.

        Raises:
            InvalidArgument: for numbers outside their domain, or what does not go together (INCONSISTENT_SETTINGS).
            DataLoss: if what arrived is not what was sent.
        """
        how: dict[str, Any] = {"resample": resample, "smc": smc, "polish": polish, "polish_steps": polish_steps}
        how |= {"solver": solver, "solver_steps": solver_steps}
        return self._bridge.run(self._twin.draw(n, seed, start, chunk_size, sites=sites, **how))

    def log_prob(self, x: "ArrayLike") -> "NDArray[np.float64]":
        """Log density of a model of data at x, (points, dim) or (dim,), in nats and units of the data: (points,).

        By the probability flow: exact divergence up to 100 columns, an estimate with frozen probes beyond.

        Raises:
            InvalidArgument: for points of another width.
            FailedPrecondition: (SAMPLER_UNSUITED) for a model of levels, or a sampler of a target.
        """
        return self._bridge.run(self._twin.log_prob(x))

    def nll(self, data: "ArrayLike | Facts | str", seed: int = 0, draws: int | None = None) -> HeldOut:
        """How likely data are under a model of data: negative log likelihoods by the ELBO and the probability flow.

        Args:
            data: Rows x columns, at least two rows (the columns of a DataFrame go by their names); or a data set of the
                server, or its name. Data that do not fit a message must be uploaded first.
            seed: Seed of the noise behind the ELBO.
            draws: Noise levels a row; 64.

        Raises:
            InvalidArgument: for data of another width, or a value that is none of the model's levels.
            FailedPrecondition: (SAMPLER_UNSUITED) for a sampler of a target.
        """
        return self._bridge.run(self._twin.nll(data, seed, draws))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the sampler with its target to one file, for `client.load` on any server; the file's path.

        The file appears whole or not at all.
        """
        return self._bridge.run(self._twin.save(path))

    def delete(self) -> None:
        """Remove the sampler from the server."""
        self._bridge.run(self._twin.delete())
