"""Trained samplers: evidence, draws, files."""

import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gephyra.protos import sampler_service_pb2

from ..channel import Connection
from ..denoising import SOLVERS
from ..errors import DataLoss, FailedPrecondition, GephyraError, InvalidArgument, Unavailable, Violation
from ..evidence import Evidence, evidence_from_message
from ..facts import Facts
from ..likelihood import HeldOut, likelihood_from_message
from ..request import fill, full_name
from ..resume import Patience
from ..sampler_facts import SamplerFacts
from ..words import chosen, draw_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from ..drawing import DrawAssembly
    from ..draws import Draws

__all__ = ["AsyncSamplerHandle"]

_ESTIMATE_SECONDS = 600.0
# Points a call for log densities: a thousand or so keep a call short and its message small.
_POINTS, _POINT_BYTES = 1024, 1 << 20


class AsyncSamplerHandle(SamplerFacts):
    """A trained sampler, of a target or of a data set."""

    def __init__(self, connection: Connection, message: sampler_service_pb2.Sampler) -> None:
        self._connection = connection
        self._message = message

    @property
    def message(self) -> sampler_service_pb2.Sampler:
        """The server's record."""
        return self._message

    async def evidence(self, n: int | None = None, seed: int | None = None) -> Evidence:
        """log Z, ELBO and how far the weights can be trusted.

        Without arguments: the report made once after training. With `n` fresh paths, `seed` of their noise, or
        both: an estimate of its own (`Evidence.stored` is False), by default with the report's number of paths.

        Raises FailedPrecondition (SAMPLER_UNSUITED) for a model of data, which has no Z: ask it for `nll`.
        """
        if self.of_data:
            raise FailedPrecondition(
                f"{self.name} is a model of data: there is no log Z to estimate. How likely data are under it: "
                "sampler.nll(rows); what was measured after training: sampler.report",
                reason="SAMPLER_UNSUITED",
            )
        if n is None and seed is None:
            return evidence_from_message(self._message.report, stored=True)
        count = self._message.report.paths if n is None else n
        request = fill(sampler_service_pb2.EstimateEvidenceRequest(sampler=self.name), count=count, seed=seed or 0)
        answer = await self._connection.unary(lambda stubs: stubs.sampling.EstimateEvidence, request, _ESTIMATE_SECONDS)
        return evidence_from_message(answer.report, stored=False)

    async def draw(
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
            resample: Resample on the server, within blocks of fixed size: all draws of a block then have the block's
                mean weight. `Draws.resample` resamples what came as a whole instead.
            smc: Resample along the paths too, where their weights degenerate: for `cmcd`, `mcd`, `ula` and
                their underdamped kin.
            polish: Metropolis steps, which leave the target invariant: `none`, `imh` (an independence chain along the
                block in place of resampling), `mala` (Langevin steps from each draw, which keeps its weight) or
                `imh-mala` (the one, then the other).
            polish_steps: MALA steps; 10.
            solver: Of a model of data, whose draws have no weights, how they are made: `ancestral`, `ancestral-large`,
                `ddim`, `dpm-solver`, `heun`, `euler-maruyama` or `flow`; by default as it was trained.
            solver_steps: Steps of the solver.

        Raises:
            InvalidArgument: for numbers outside their domain, or what does not go together (INCONSISTENT_SETTINGS).
            DataLoss: if what arrived is not what was sent.
        """
        # Here, because importing the client must be quick and numpy takes half of the time.
        from ..drawing import DrawAssembly
        from ..draws import Draws

        how = draw_settings(resample, smc, polish, polish_steps)
        request = sampler_service_pb2.DrawSamplesRequest(sampler=self.name, omit_sites=not sites, how=how)
        fill(request, seed=seed)
        if solver is not None:
            request.solver = _solver(solver)
        if solver_steps is not None:
            fill(request, solver_steps=solver_steps)
        fill(request, chunk_size=chunk_size, start_index=start, count=n)
        assembly = DrawAssembly(start, n)
        await self._receive(request, assembly)
        return Draws(
            x=assembly.x,
            log_weights=assembly.log_weights,
            sites=await self._columns(assembly.x) if sites and self.of_data else assembly.sites,
            sampler=self.name,
            seed=seed,
            start=start,
            evidence=None if self.of_data else evidence_from_message(self._message.report, stored=True),
            weighted=not self.of_data,
        )

    async def log_prob(self, x: "ArrayLike") -> "NDArray[np.float64]":
        """Log density of a model of data at x, (points, dim) or (dim,), in nats and units of the data: (points,).

        By the probability flow: exact divergence up to 100 columns, an estimate with frozen probes beyond.

        Raises:
            InvalidArgument: for points of another width.
            FailedPrecondition: (SAMPLER_UNSUITED) for a model of levels, or a sampler of a target.
        """
        import numpy as np

        from ..tensors import from_tensor, to_tensor

        points = await self._rows(x)
        size = max(1, min(_POINTS, _POINT_BYTES // max(1, 8 * points.shape[1])))
        parts = []
        for first in range(0, max(len(points), 1), size):
            tensor = to_tensor(points[first : first + size], "x")
            request = sampler_service_pb2.EvaluateLogProbRequest(sampler=self.name, x=tensor)
            answer = await self._connection.unary(
                lambda stubs: stubs.sampling.EvaluateLogProb, request, _ESTIMATE_SECONDS
            )
            parts.append(_sent(from_tensor, answer.log_prob, "log_prob"))
        return np.concatenate(parts)

    async def nll(self, data: "ArrayLike | Facts | str", seed: int = 0, draws: int | None = None) -> HeldOut:
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
        from ..tensors import from_tensor, to_tensor

        request = fill(sampler_service_pb2.EstimateLikelihoodRequest(sampler=self.name), seed=seed)
        if draws is not None:
            fill(request, draws=draws)
        if isinstance(data, str | Facts | os.PathLike):
            request.dataset = _dataset(data)
        else:
            request.x.CopyFrom(to_tensor(await self._rows(data), "x"))
        found = await self._connection.unary(
            lambda stubs: stubs.sampling.EstimateLikelihood, request, _ESTIMATE_SECONDS
        )
        has_flow = found.HasField("flow")
        return HeldOut(
            likelihood_from_message(found.elbo),
            likelihood_from_message(found.flow) if has_flow else None,
            _sent(from_tensor, found.elbo_nats, "elbo_nats"),
            _sent(from_tensor, found.flow_nats, "flow_nats") if has_flow else None,
        )

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the sampler with its target to one file, for `client.load` on any server; the file's path.

        The file appears whole or not at all.
        """
        final = Path(path)
        partial = final.with_name(f".{final.name}.partial")
        patience = Patience(self._connection.patience)
        try:
            while not await self._export(partial, patience):
                pass
            partial.replace(final)
        finally:
            partial.unlink(missing_ok=True)
        return final

    async def _export(self, path: Path, patience: Patience) -> bool:
        """Write the file; False if the stream broke, after waiting for another one."""
        request = sampler_service_pb2.ExportSamplerRequest(name=self.name)
        stream = self._connection.stream(lambda stubs: stubs.samplers.ExportSampler, request)
        try:
            with path.open("wb") as file:
                async with aclosing(stream) as parts:
                    async for part in parts:
                        file.write(part.data)
        except GephyraError as error:
            await patience.wait(error, 0)
            return False
        return True

    async def delete(self) -> None:
        """Remove the sampler from the server."""
        request = sampler_service_pb2.DeleteSamplerRequest(name=self.name)
        await self._connection.unary(lambda stubs: stubs.samplers.DeleteSampler, request)

    async def _columns(self, x: "NDArray[Any]") -> "dict[str, NDArray[Any]]":
        """The columns of draws of a model of data by name."""
        return {name: x[:, index] for index, name in enumerate(await self._names())}

    async def _names(self) -> list[str]:
        """Names of sites; a listing leaves them out."""
        if not self._message.sites:
            request = sampler_service_pb2.GetSamplerRequest(name=self.name)
            self._message = await self._connection.unary(lambda stubs: stubs.samplers.GetSampler, request)
        return list(self.sites)

    async def _rows(self, data: Any) -> "NDArray[Any]":
        """Rows in the order of the model's columns, in a type that travels. A DataFrame's columns go by their names."""
        import numpy as np

        if hasattr(data, "columns") and hasattr(data, "iloc"):
            names, came = await self._names(), [str(name) for name in data.columns]
            if set(names) - set(came):
                sentence = (
                    f"expected the columns {', '.join(names)}, the DataFrame has {', '.join(came)}; give "
                    "data.to_numpy() if its columns are these, in this order, by other names"
                )
                raise InvalidArgument(sentence, reason="DATA_SHAPE_INVALID", violations=[Violation("x", sentence)])
            data = data.iloc[:, [came.index(name) for name in names]]
        rows = np.atleast_2d(np.asarray(data))
        return rows if rows.dtype == np.float32 else rows.astype(np.float64)

    async def _receive(self, request: sampler_service_pb2.DrawSamplesRequest, assembly: "DrawAssembly") -> None:
        """Fill the assembly, resuming broken streams."""
        patience = Patience(self._connection.patience)
        while not assembly.complete:
            request.start_index = assembly.start + assembly.received
            request.count = assembly.count - assembly.received
            assembly.begin()
            try:
                stream = self._connection.stream(lambda stubs: stubs.sampling.DrawSamples, request)
                async with aclosing(stream) as messages:
                    async for message in messages:
                        assembly.take(message)
                if not assembly.complete:
                    raise Unavailable("the stream of draws ended before its trailer")
            except GephyraError as error:
                if assembly.received == assembly.count > 0 and not isinstance(error, DataLoss):
                    return  # Only the trailer is missing; a stream of no draws cannot be asked for.
                await patience.wait(error, assembly.received)


def _dataset(data: "Facts | str | os.PathLike[str]") -> str:
    """Name of a data set. Raises InvalidArgument for the path of a file: ids have no dots."""
    if isinstance(data, Facts) or (isinstance(data, str) and "." not in data):
        return full_name("datasets", data)
    path = os.fspath(data)
    sentence = (
        f"data are rows, or the name of a data set of the server, and {path!r} is a file: upload it (client.upload, or "
        "gephyra dataset upload) and give the name that it gets there, or read it and give the array"
    )
    raise InvalidArgument(sentence, reason="DATA_FORMAT_REFUSED", violations=[Violation("data", sentence)])


def _solver(word: str) -> Any:
    return chosen(SOLVERS, "solver", word, "solver")


def _sent(read: "Callable[[Any, str], NDArray[Any]]", tensor: Any, field: str) -> "NDArray[Any]":
    """The array that a server sent."""
    try:
        return read(tensor, field)
    except ValueError as error:
        raise DataLoss(f"the server sent a damaged answer: {error}") from None
