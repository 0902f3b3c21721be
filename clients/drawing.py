"""Puts a stream of draws together, across broken streams, and checks that it arrived whole."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gephyra.protos import sampler_service_pb2

from .errors import DataLoss
from .tensors import dtype_of, from_tensor

__all__ = ["DrawAssembly"]


class DrawAssembly:
    """The draws [start, start + count) of one sampler and seed, filled from one or more streams."""

    def __init__(self, start: int, count: int) -> None:
        self.start = start
        self.count = count
        self.received = 0
        self.x: NDArray[Any] = np.empty((0, 0), np.float32)
        self.log_weights: NDArray[np.float64] = np.empty(0)
        self.sites: dict[str, NDArray[Any]] = {}
        self._header: sampler_service_pb2.DrawSamplesResponse.Header | None = None
        self._complete = False
        self._stream_start = 0

    @property
    def complete(self) -> bool:
        """True after the trailer of the stream that brought the last draw."""
        return self._complete

    def begin(self) -> None:
        """A new stream starts at the first draw that is missing."""
        self._stream_start = self.received

    def take(self, message: sampler_service_pb2.DrawSamplesResponse) -> None:
        """Take in one message. Raises DataLoss for one that does not fit."""
        try:
            match message.WhichOneof("part"):
                case "header":
                    self._take_header(message.header)
                case "chunk":
                    self._take_chunk(message.chunk)
                case "trailer":
                    self._take_trailer(message.trailer)
        except ValueError as error:
            raise DataLoss(f"the server sent damaged draws: {error}") from None

    def _take_header(self, header: sampler_service_pb2.DrawSamplesResponse.Header) -> None:
        if self._header is not None:
            if self._header != header:
                raise DataLoss("the sampler changed while its draws were read; draw again")
            return
        self._header = header
        self.x = np.empty((self.count, header.dim), dtype_of(header.dtype))
        self.log_weights = np.empty(self.count)
        for site in header.sites:
            self.sites[site.name] = np.empty((self.count, *site.shape), dtype_of(site.dtype, f"site {site.name}"))

    def _take_chunk(self, chunk: sampler_service_pb2.DrawSamplesResponse.Chunk) -> None:
        wanted = self.start + self.received
        rows = slice(self.received, self.received + chunk.count)
        if self._header is None or chunk.start_index != wanted or not 0 < chunk.count <= self.count - self.received:
            raise DataLoss(f"expected draws from {wanted}, got {chunk.count} from {chunk.start_index}")
        self.x[rows] = _shaped(from_tensor(chunk.x, "x"), self.x[rows])
        self.log_weights[rows] = _shaped(from_tensor(chunk.log_weight, "log_weight"), self.log_weights[rows])
        sent = {site.name: site.tensor for site in chunk.sites}
        if sent.keys() != self.sites.keys():
            raise DataLoss(f"expected the sites {', '.join(self.sites)}, got {', '.join(sent)}")
        for name, values in self.sites.items():
            values[rows] = _shaped(from_tensor(sent[name], name), values[rows])
        self.received = rows.stop

    def _take_trailer(self, trailer: sampler_service_pb2.DrawSamplesResponse.Trailer) -> None:
        rows = slice(self._stream_start, self.received)
        digest = hashlib.sha256(np.ascontiguousarray(self.x[rows]).data)
        digest.update(np.ascontiguousarray(self.log_weights[rows], "<f8").data)
        if trailer.count != rows.stop - rows.start or trailer.sha256 != digest.hexdigest():
            raise DataLoss(
                f"the {rows.stop - rows.start} draws that arrived are not the {trailer.count} that were sent",
                reason="DRAWS_DIGEST_MISMATCH",
            )
        self._complete = self.received == self.count


def _shaped(values: NDArray[Any], place: NDArray[Any]) -> NDArray[Any]:
    """The values, if they have the shape and type of their place. Raises ValueError otherwise."""
    if values.shape != place.shape or values.dtype != place.dtype:
        raise ValueError(f"expected {place.dtype} {place.shape}, got {values.dtype} {values.shape}")
    return values
