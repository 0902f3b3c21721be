"""Trained samplers: evidence, draws, files."""

import os
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from gephyra.protos import sampler_service_pb2

from ..channel import Connection
from ..errors import DataLoss, GephyraError, Unavailable
from ..evidence import Evidence, evidence_from_message
from ..facts import SamplerFacts
from ..request import fill
from ..resume import Patience
from ..words import draw_settings

if TYPE_CHECKING:
    from ..drawing import DrawAssembly
    from ..draws import Draws

__all__ = ["AsyncSamplerHandle"]

_ESTIMATE_SECONDS = 600.0


class AsyncSamplerHandle(SamplerFacts):
    """A trained sampler."""

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
        """
        if n is None and seed is None:
            return evidence_from_message(self._message.report, stored=True)
        count = self._message.report.paths if n is None else n
        request = fill(sampler_service_pb2.EstimateEvidenceRequest(sampler=self.name), count=count, seed=seed or 0)
        answer = await self._connection.unary(lambda stubs: stubs.sampling.EstimateEvidence, request, _ESTIMATE_SECONDS)
        return evidence_from_message(answer.report, stored=False)

    async def draw(
        self, n: int, seed: int = 0, start: int = 0, chunk_size: int = 0, *, sites: bool = True, resample: bool = False,
        smc: bool = False, polish: str | None = None, polish_steps: int | None = None,
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
        fill(request, chunk_size=chunk_size, start_index=start, count=n)
        assembly = DrawAssembly(start, n)
        await self._receive(request, assembly)
        return Draws(
            x=assembly.x,
            log_weights=assembly.log_weights,
            sites=assembly.sites,
            sampler=self.name,
            seed=seed,
            start=start,
            evidence=evidence_from_message(self._message.report, stored=True),
        )

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the sampler with its target to one file, for `client.load` on any server; the file's path.

        The file appears whole or not at all.
        """
        final = Path(path)
        partial = final.with_name(f".{final.name}.partial")
        request = sampler_service_pb2.ExportSamplerRequest(name=self.name)
        try:
            stream = self._connection.stream(lambda stubs: stubs.samplers.ExportSampler, request)
            with partial.open("wb") as file:
                async with aclosing(stream) as parts:
                    async for part in parts:
                        file.write(part.data)
            partial.replace(final)
        finally:
            partial.unlink(missing_ok=True)
        return final

    async def delete(self) -> None:
        """Remove the sampler from the server."""
        request = sampler_service_pb2.DeleteSamplerRequest(name=self.name)
        await self._connection.unary(lambda stubs: stubs.samplers.DeleteSampler, request)

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
