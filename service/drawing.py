"""A stream of draws: header, chunks, trailer.

Workers answer in whole blocks; chunks are cut from them at sizes that have nothing to do with blocks. Work is
done in turns of about a megabyte, each followed by writing it out, so that a slow reader holds neither a worker
nor memory, and one that went away stops the work within a block.
"""

import hashlib
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gephyra.protos import sampler_service_pb2 as pb
from gephyra.protos import tensor_pb2, worker_pb2
from gephyra.samplers.denoising.settings import DenoisingSettings, SolverName
from gephyra.samplers.draws import Draws
from gephyra.targets.program import Site

from .config import Limits
from .convert import to_site
from .core import Core
from .definitions import draw_bytes
from .denoising import from_solver, to_solver
from .errors import Internal, InvalidArgument, Reason, bad_field
from .failures import raise_failed
from .settings import from_how, to_how
from .store.records import SamplerRecord
from .tensors import array_bytes, dtype_number

__all__ = ["Range", "Solving", "check_range", "draws"]

# Log weights wait for the end of the stream, because the digest has them after all x.
_MEMORY_FOR_WEIGHTS = 1 << 20
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


async def draws(core: Core, sampler: SamplerRecord, wanted: Range) -> AsyncGenerator[pb.DrawSamplesResponse, None]:
    """The messages of a stream. Raises ServiceError."""
    sites = () if wanted.omit_sites else sampler.sites
    yield pb.DrawSamplesResponse(header=_header(sampler, sites, wanted.seed))
    cutter, digest = _Cutter(sampler.dim, sites, wanted.start), hashlib.sha256()
    end = wanted.start + wanted.count
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY_FOR_WEIGHTS) as weights:
        while cutter.end < end:
            before = cutter.end
            await _turn(core, sampler, wanted, cutter, end)
            if cutter.end == before:
                raise _nonsense("no draws in its turn")
            for chunk in cutter.chunks(wanted.rows, last=cutter.end == end):
                digest.update(chunk.x.data)
                weights.write(chunk.log_weight.data)
                yield pb.DrawSamplesResponse(chunk=chunk)
        weights.seek(0)
        while part := weights.read(1 << 18):
            digest.update(part)
    yield pb.DrawSamplesResponse(trailer=pb.DrawSamplesResponse.Trailer(count=wanted.count, sha256=digest.hexdigest()))


async def _turn(core: Core, sampler: SamplerRecord, wanted: Range, cutter: "_Cutter", end: int) -> None:
    event = await core.pool.ask(
        _command(core, sampler, wanted, cutter.end, end), core.config.timings.draw, key=sampler.digest,
        on_block=cutter.add,
    )  # fmt: skip
    raise_failed(event)


def _command(core: Core, sampler: SamplerRecord, wanted: Range, start: int, end: int) -> worker_pb2.WorkerCommand:
    """The command for the draws [start, end), or as many of them as a turn takes."""
    if isinstance(wanted.how, Solving):
        generate = worker_pb2.WorkerCommand.Generate(
            sampler_path=str(core.artefacts.path(sampler.digest)), count=end - start, seed=wanted.seed,
            start_index=start, turn_bytes=core.config.draw_turn_bytes, solver=to_solver(wanted.how.solver),
            solver_steps=wanted.how.steps,
        )  # fmt: skip
        return worker_pb2.WorkerCommand(generate=generate)
    draw = worker_pb2.WorkerCommand.Draw(
        sampler_path=str(core.artefacts.path(sampler.digest)),
        target_path=str(core.artefacts.path(sampler.target_digest)),
        count=end - start, seed=wanted.seed, start_index=start, omit_sites=wanted.omit_sites,
        turn_bytes=core.config.draw_turn_bytes, how=to_how(wanted.how),
    )  # fmt: skip
    return worker_pb2.WorkerCommand(draw=draw)


def _header(sampler: SamplerRecord, sites: Sequence[Site], seed: int) -> pb.DrawSamplesResponse.Header:
    return pb.DrawSamplesResponse.Header(
        sampler=f"samplers/{sampler.name}", digest=sampler.digest, dim=sampler.dim,
        sites=[to_site(site) for site in sites], dtype=tensor_pb2.DTYPE_FLOAT32, seed=seed,
    )  # fmt: skip


@dataclass(slots=True)
class _Column:
    """One tensor of the stream: what has come and was not sent yet."""

    name: str
    dtype: tensor_pb2.DType.ValueType
    shape: tuple[int, ...]
    waiting: bytearray = field(default_factory=bytearray)

    @property
    def row_bytes(self) -> int:
        return array_bytes(self.dtype, self.shape, self.name)

    def add(self, tensor: tensor_pb2.Tensor, count: int) -> None:
        if tensor.dtype != self.dtype or tuple(tensor.shape) != (count, *self.shape):
            raise _nonsense(f"draws of another shape or type for {self.name!r}")
        if len(tensor.data) != count * self.row_bytes:
            raise Internal(
                Reason.INTERNAL, f"a worker sent {len(tensor.data)} bytes for {count} draws of {self.name!r}"
            )
        self.waiting += tensor.data

    def cut(self, first: int, count: int) -> tensor_pb2.Tensor:
        rows = slice(first * self.row_bytes, (first + count) * self.row_bytes)
        return tensor_pb2.Tensor(dtype=self.dtype, shape=(count, *self.shape), data=bytes(self.waiting[rows]))


class _Cutter:
    """Blocks in, chunks out. Checks what workers send: they run foreign programs."""

    def __init__(self, dim: int, sites: Sequence[Site], start: int) -> None:
        self._x = _Column("x", tensor_pb2.DTYPE_FLOAT32, (dim,))
        self._log_weight = _Column("log_weight", tensor_pb2.DTYPE_FLOAT64, ())
        self._sites = [_Column(site.name, dtype_number(site.dtype), site.shape) for site in sites]
        self._start = start
        self.end = start

    def add(self, block: worker_pb2.WorkerEvent.Block) -> None:
        """Take the next block. Raises Internal if it is not the next, or of another shape."""
        if block.start_index != self.end or [s.name for s in block.sites] != [c.name for c in self._sites]:
            raise Internal(
                Reason.INTERNAL, f"a worker sent draws from {block.start_index}, expected those from {self.end}"
            )
        self._x.add(block.x, block.count)
        self._log_weight.add(block.log_weight, block.count)
        for column, site in zip(self._sites, block.sites, strict=True):
            column.add(site.tensor, block.count)
        self.end += block.count

    def chunks(self, rows: int, last: bool) -> Iterator[pb.DrawSamplesResponse.Chunk]:
        """Whole chunks of what waits; the rest waits on, unless these are the last."""
        first, waiting = 0, self.end - self._start
        while waiting - first >= rows or (last and first < waiting):
            count = min(rows, waiting - first)
            yield self._chunk(first, count)
            first += count
        for column in (self._x, self._log_weight, *self._sites):
            del column.waiting[: first * column.row_bytes]
        self._start += first

    def _chunk(self, first: int, count: int) -> pb.DrawSamplesResponse.Chunk:
        sites = [tensor_pb2.NamedTensor(name=site.name, tensor=site.cut(first, count)) for site in self._sites]
        return pb.DrawSamplesResponse.Chunk(
            start_index=self._start + first, count=count, x=self._x.cut(first, count),
            log_weight=self._log_weight.cut(first, count), sites=sites,
        )  # fmt: skip


def _nonsense(what: str) -> Internal:
    return Internal(Reason.INTERNAL, f"a worker sent {what}")
