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
    """A trained sampler; see `AsyncSamplerHandle`."""

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
        See `AsyncSamplerHandle.draw` for the arguments.
        """
        how: dict[str, Any] = {"resample": resample, "smc": smc, "polish": polish, "polish_steps": polish_steps}
        how |= {"solver": solver, "solver_steps": solver_steps}
        return self._bridge.run(self._twin.draw(n, seed, start, chunk_size, sites=sites, **how))

    def log_prob(self, x: "ArrayLike") -> "NDArray[np.float64]":
        """Log density of a model of data at x, (points, dim) or (dim,), in nats and units of the data: (points,).

        See `AsyncSamplerHandle.log_prob` for what it raises.
        """
        return self._bridge.run(self._twin.log_prob(x))

    def nll(self, data: "ArrayLike | Facts | str", seed: int = 0, draws: int | None = None) -> HeldOut:
        """How likely data are under a model of data: negative log likelihoods by the ELBO and the probability flow.

        See `AsyncSamplerHandle.nll` for the arguments and what it raises.
        """
        return self._bridge.run(self._twin.nll(data, seed, draws))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the sampler with its target to one file, for `client.load` on any server; the file's path."""
        return self._bridge.run(self._twin.save(path))

    def delete(self) -> None:
        """Remove the sampler from the server."""
        self._bridge.run(self._twin.delete())
