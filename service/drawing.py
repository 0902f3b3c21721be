"""A stream of draws: header, chunks, trailer.

Work is done in turns of about a megabyte, a few ahead of what is written out (`ahead`), so that a slow reader holds
neither a worker nor much memory, and one that went away stops the work within a block. What was drawn lately is not
drawn again.
"""

from collections.abc import AsyncGenerator, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gephyra.protos import sampler_service_pb2 as pb
from gephyra.protos import tensor_pb2, worker_pb2
from gephyra.samplers.denoising.settings import DenoisingSettings, SolverName
from gephyra.samplers.draws import Draws
from gephyra.targets.program import Site

from .ahead import Ahead, Crew, Turn
from .config import Limits
from .convert import to_site
from .core import Core
from .cutting import Cutter, Digest, Drawn
from .definitions import draw_bytes
from .denoising import from_solver, to_solver
from .errors import Internal, InvalidArgument, Reason, bad_field
from .failures import raise_failed
from .settings import from_how, to_how
from .store.records import SamplerRecord

__all__ = ["Range", "Solving", "check_range", "draws"]

_MAX_INDEX = 2**62
_MOST_SOLVER_STEPS = 4096


class Solving(NamedTuple):
    """How draws of a model of data are made; None: as it was trained."""

    solver: SolverName | None
    steps: int | None


@dataclass(frozen=True, slots=True)
class Range:
    """What a stream is to hold."""

    start: int
    count: int
    seed: int
    rows: int
    """Draws a chunk."""
    omit_sites: bool
    how: "Draws | Solving"


def check_range(request: pb.DrawSamplesRequest, sampler: SamplerRecord, limits: Limits) -> Range:
    """The range of a request. Raises InvalidArgument (DRAWS_OUT_OF_RANGE, FIELD_INVALID, INCONSISTENT_SETTINGS)."""
    if not 1 <= request.count <= limits.max_draws:
        raise InvalidArgument.at(
            Reason.DRAWS_OUT_OF_RANGE, "count",
            f"expected 1 to {limits.max_draws} draws a call, got {request.count}"
            + ("; take more in several calls, each from its own start" if request.count > 0 else ""),
        )  # fmt: skip
    if not 0 <= request.start_index <= _MAX_INDEX:
        raise bad_field("start_index", f"expected 0 to 2^62, got {request.start_index}")
    if request.chunk_size < 0:
        raise bad_field("chunk_size", f"expected 0 or more draws, got {request.chunk_size}")
    # The sites of a model of data are columns of x.
    omit_sites = request.omit_sites or sampler.of_data
    fitting = max(1, limits.max_chunk_bytes // draw_bytes(sampler.dim, sampler.sites, omit_sites))
    rows = min(fitting, request.chunk_size or fitting)
    return Range(request.start_index, request.count, request.seed, rows, omit_sites, _how(request, sampler))


def _how(request: pb.DrawSamplesRequest, sampler: SamplerRecord) -> Draws | Solving:
    """How draws are made. Raises InvalidArgument for what this sampler cannot do."""
    steps = request.solver_steps if request.HasField("solver_steps") else None
    if isinstance(sampler.settings, DenoisingSettings):
        for field, _ in request.how.ListFields():
            raise InvalidArgument.at(
                Reason.INCONSISTENT_SETTINGS, f"how.{field.name}",
                "draws of a model of data have equal weights and no density of a target behind them: leave it out",
            )  # fmt: skip
        if steps is not None and not 1 <= steps <= _MOST_SOLVER_STEPS:
            raise bad_field("solver_steps", f"expected 1 to {_MOST_SOLVER_STEPS} steps, got {steps}")
        return Solving(from_solver(request.solver, "solver"), steps)
    if request.solver or steps is not None:
        raise InvalidArgument.at(
            Reason.INCONSISTENT_SETTINGS, "solver" if request.solver else "solver_steps",
            f"solvers are for models of data, this sampler's method is {sampler.settings.method}: leave it out",
        )  # fmt: skip
    return from_how(request.how, sampler.settings.method)


async def draws(
    core: Core, sampler: SamplerRecord, wanted: Range
) -> AsyncGenerator[pb.DrawSamplesResponse | bytes, None]:
    """The messages of a stream, some of them serialised. Raises ServiceError."""
    sites = () if wanted.omit_sites else sampler.sites
    yield pb.DrawSamplesResponse(header=_header(sampler, sites, wanted.seed))
    cutter, end = Cutter(sampler.dim, sites, wanted.start), wanted.start + wanted.count
    stream = (sampler.digest, sampler.target_digest, wanted.seed, wanted.how, wanted.omit_sites)
    ahead = _ahead(core, sampler, wanted, stream)
    with Digest(core.drawn.digest(stream, wanted.start, wanted.count)) as digest:
        try:
            while cutter.start < end:
                waiting = cutter.ready(wanted.rows, last=cutter.end == end)
                # Sent before, exactly so, and hashed then: it goes out as it is.
                whole = digest.known and cutter.start == cutter.end
                again = core.drawn.exact(stream, cutter.end, min(wanted.rows, end - cutter.end)) if whole else None
                if again is None and not waiting:
                    await _next(core, stream, ahead, cutter, end)
                    continue
                async with core.lanes.turn():
                    drawn = cutter.skip(again) if again else _cut(core, stream, cutter, digest, wanted.rows)
                    core.metrics.draws.inc(drawn.count)
                    yield drawn.message
        finally:
            await ahead.close()
        sha256 = digest.hexdigest()
    core.drawn.remember(stream, wanted.start, wanted.count, sha256)
    yield pb.DrawSamplesResponse(trailer=pb.DrawSamplesResponse.Trailer(count=wanted.count, sha256=sha256))


def _cut(core: Core, stream: Hashable, cutter: Cutter, digest: Digest, rows: int) -> Drawn:
    """The next chunk, hashed and remembered."""
    cut = cutter.chunk(rows)
    digest.add(cut)
    core.drawn.put(stream, cut.drawn)
    return cut.drawn


async def _next(core: Core, stream: Hashable, ahead: Ahead, cutter: Cutter, end: int) -> None:
    """Hand the cutter at least one more draw: from memory, or else from workers."""
    known = None if ahead.begun(cutter.end) else core.drawn.get(stream, cutter.end)
    if known is not None:
        cutter.put(known, end)
        return
    for block in await ahead.next(cutter.end):
        cutter.add(block)


def _ahead(core: Core, sampler: SamplerRecord, wanted: Range, stream: Hashable) -> Ahead:
    """What workers make of a stream."""

    async def ask(turn: Turn) -> list[worker_pb2.WorkerEvent.Block]:
        blocks = list[worker_pb2.WorkerEvent.Block]()

        def add(block: worker_pb2.WorkerEvent.Block) -> None:
            # Raised here, it ends the worker that does not keep to its turn.
            if not 0 < block.count <= turn.stop - block.start_index:
                raise Internal(Reason.INTERNAL, "a worker sent draws that were not asked for")
            blocks.append(block)

        event = await core.pool.ask(
            _command(core, sampler, wanted, turn), core.config.timings.draw, key=sampler.digest, on_block=add
        )
        raise_failed(event)
        if not blocks:
            raise Internal(Reason.INTERNAL, "a worker sent no draws in its turn")
        return blocks

    crew = Crew(core.pool.size, lambda: core.pool.size - core.pool.busy, ask)
    most = core.config.draw_turn_bytes // draw_bytes(sampler.dim, sampler.sites, wanted.omit_sites)
    return Ahead(crew, wanted.start + wanted.count, max(most, 1), lambda i: core.drawn.get(stream, i) is not None)


def _command(core: Core, sampler: SamplerRecord, wanted: Range, turn: Turn) -> worker_pb2.WorkerCommand:
    """The command for a turn."""
    turn_bytes = 1 if turn.short else core.config.draw_turn_bytes
    if isinstance(wanted.how, Solving):
        generate = worker_pb2.WorkerCommand.Generate(
            sampler_path=str(core.artefacts.path(sampler.digest)), count=turn.stop - turn.start,
            seed=wanted.seed, start_index=turn.start, turn_bytes=turn_bytes, solver=to_solver(wanted.how.solver),
            solver_steps=wanted.how.steps,
        )  # fmt: skip
        return worker_pb2.WorkerCommand(generate=generate)
    draw = worker_pb2.WorkerCommand.Draw(
        sampler_path=str(core.artefacts.path(sampler.digest)),
        target_path=str(core.artefacts.path(sampler.target_digest)),
        count=turn.stop - turn.start, seed=wanted.seed, start_index=turn.start, omit_sites=wanted.omit_sites,
        turn_bytes=turn_bytes, how=to_how(wanted.how),
    )  # fmt: skip
    return worker_pb2.WorkerCommand(draw=draw)


def _header(sampler: SamplerRecord, sites: Sequence[Site], seed: int) -> pb.DrawSamplesResponse.Header:
    return pb.DrawSamplesResponse.Header(
        sampler=f"samplers/{sampler.name}", digest=sampler.digest, dim=sampler.dim,
        sites=[to_site(site) for site in sites], dtype=tensor_pb2.DTYPE_FLOAT32, seed=seed,
    )  # fmt: skip
