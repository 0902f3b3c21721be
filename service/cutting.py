"""Draws come in blocks and go out in chunks, cut at sizes that have nothing to do with blocks."""

import hashlib
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from gephyra.protos import sampler_service_pb2 as pb
from gephyra.protos import tensor_pb2, worker_pb2
from gephyra.targets.program import Site

from .errors import Internal, Reason
from .tensors import array_bytes, dtype_number

__all__ = ["Cut", "Cutter", "Digest", "Drawn"]

# Log weights wait for the end of the stream, because the digest has them after all x.
_MEMORY_FOR_WEIGHTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Drawn:
    """Consecutive draws as they are sent."""

    start: int
    count: int
    message: bytes
    """A serialised DrawSamplesResponse that holds them as its chunk."""


class Cut(NamedTuple):
    """A chunk as it is sent, and what of it goes into the digest."""

    drawn: Drawn
    x: bytes
    log_weight: bytes


class Cutter:
    """Blocks in, chunks out. Checks what workers send: they run foreign programs.

    Attributes:
        start: Index of the draw that leaves next.
        end: Index of the draw that comes next.
    """

    def __init__(self, dim: int, sites: Sequence[Site], start: int) -> None:
        self._x = _Column("x", tensor_pb2.DTYPE_FLOAT32, (dim,))
        self._log_weight = _Column("log_weight", tensor_pb2.DTYPE_FLOAT64, ())
        self._sites = [_Column(site.name, dtype_number(site.dtype), site.shape) for site in sites]
        self.start = self.end = start

    def add(self, block: worker_pb2.WorkerEvent.Block) -> None:
        """Take the next block of a worker. Raises Internal if it is not the next, or of another shape."""
        if block.start_index != self.end or [s.name for s in block.sites] != [c.name for c in self._sites]:
            raise Internal(
                Reason.INTERNAL, f"a worker sent draws from {block.start_index}, expected those from {self.end}"
            )
        tensors = (block.x, block.log_weight, *(site.tensor for site in block.sites))
        columns = [column.checked(tensor, block.count) for column, tensor in zip(self._columns, tensors, strict=True)]
        for column, content in zip(self._columns, columns, strict=True):
            column.put(content, 0, block.count)
        self.end += block.count

    def put(self, drawn: Drawn, end: int) -> None:
        """Take draws that were sent before: from the next one on, and none from index `end` on."""
        chunk = pb.DrawSamplesResponse.FromString(drawn.message).chunk
        first, last = self.end - drawn.start, min(end - drawn.start, drawn.count)
        tensors = (chunk.x, chunk.log_weight, *(site.tensor for site in chunk.sites))
        for column, tensor in zip(self._columns, tensors, strict=True):
            column.put(tensor.data, first, last)
        self.end = drawn.start + last

    def skip(self, drawn: Drawn) -> Drawn:
        """Leave out draws that go out as they are; only where none waits."""
        self.start = self.end = drawn.start + drawn.count
        return drawn

    def ready(self, rows: int, last: bool) -> bool:
        """Whether there is a chunk: `rows` draws wait, or fewer that are the last."""
        waiting = self.end - self.start
        return waiting >= rows or (last and waiting > 0)

    def chunk(self, rows: int) -> Cut:
        """The next chunk: `rows` draws, or what there is of them."""
        # Filled in place: a message that is passed to the constructor of another one is copied.
        message = pb.DrawSamplesResponse()
        chunk, start, count = message.chunk, self.start, min(rows, self.end - self.start)
        chunk.start_index, chunk.count = start, count
        x, log_weight = self._x.cut(chunk.x, count), self._log_weight.cut(chunk.log_weight, count)
        for column in self._sites:
            site = chunk.sites.add()
            site.name = column.name
            column.cut(site.tensor, count)
        self.start += count
        return Cut(Drawn(start, count, message.SerializeToString()), x, log_weight)

    @property
    def _columns(self) -> tuple["_Column", ...]:
        return self._x, self._log_weight, *self._sites


class Digest:
    """SHA-256 of what a stream sends: all x, then all log weights. Close it when done.

    Args:
        known: The digest where the same stream was sent before, or empty: hashing takes longer than sending.
    """

    def __init__(self, known: str) -> None:
        self.known, self._sha256 = known, hashlib.sha256()
        self._weights = tempfile.SpooledTemporaryFile(max_size=_MEMORY_FOR_WEIGHTS)  # noqa: SIM115 - closed by __exit__

    def add(self, cut: Cut) -> None:
        """Add the next chunk."""
        if not self.known:
            self._sha256.update(cut.x)
            self._weights.write(cut.log_weight)

    def hexdigest(self) -> str:
        """The digest, once every chunk is added."""
        if self.known:
            return self.known
        self._weights.seek(0)
        while part := self._weights.read(1 << 18):
            self._sha256.update(part)
        return self._sha256.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._weights.close()


class _Column:
    """One tensor of the stream: what has come and was not sent yet."""

    def __init__(self, name: str, dtype: tensor_pb2.DType.ValueType, shape: tuple[int, ...]) -> None:
        self.name, self._dtype, self._shape = name, dtype, shape
        self._row_bytes = array_bytes(dtype, shape, name)
        self._waiting: deque[memoryview] = deque()

    def checked(self, tensor: tensor_pb2.Tensor, count: int) -> bytes:
        """The bytes of a block's tensor. Raises Internal for one of another shape, type or size."""
        if tensor.dtype != self._dtype or tuple(tensor.shape) != (count, *self._shape):
            raise Internal(Reason.INTERNAL, f"a worker sent draws of another shape or type for {self.name!r}")
        if len(tensor.data) != count * self._row_bytes:
            raise Internal(
                Reason.INTERNAL, f"a worker sent {len(tensor.data)} bytes for {count} draws of {self.name!r}"
            )
        return tensor.data

    def put(self, content: bytes, first: int, last: int) -> None:
        """Append the rows `first` to `last`, the last one left out."""
        self._waiting.append(memoryview(content)[first * self._row_bytes : last * self._row_bytes])

    def cut(self, tensor: tensor_pb2.Tensor, count: int) -> bytes:
        """Move the first `count` rows into a tensor; their bytes."""
        data = self._take(count * self._row_bytes)
        tensor.dtype, tensor.data = self._dtype, data
        tensor.shape.extend((count, *self._shape))
        return data

    def _take(self, size: int) -> bytes:
        parts = []
        while size:
            head = self._waiting.popleft()
            if len(head) > size:
                self._waiting.appendleft(head[size:])
                head = head[:size]
            parts.append(head)
            size -= len(head)
        return b"".join(parts)
