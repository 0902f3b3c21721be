"""How many calls are served at the same time, by kind. One more is refused at once, before anything is done for it.

What is admitted waits for workers, lanes and the database, so these bounds are also the bounds of those queues, and of
what all calls together hold in memory. Health checks and reflection are none of ours: they are always served.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum

from .config import Limits
from .errors import DeadlineExceeded, Reason, busy
from .metrics import Metrics

__all__ = ["Admission", "Kind", "kind_of"]


class Kind(StrEnum):
    """What a call costs; the value is its label in the metrics."""

    RECORD = "record"
    """A transaction or two."""
    STREAM = "stream"
    """Much data, at the reader's or writer's pace; draws need a worker in turns."""
    WORK = "work"
    """One answer that a worker computes, or for which data are read whole."""
    WATCH = "watch"
    """Open for as long as a job runs, mostly idle."""


_OURS = "gephyra.v1."
# The other methods are for records.
_KINDS: Mapping[str, Kind] = {
    f"{_OURS}{method}": kind
    for kind, methods in {
        Kind.STREAM: (
            "BlobService/UploadBlob", "SamplerService/ExportSampler", "SamplerService/ImportSampler",
            "SamplingService/DrawSamples",
        ),
        Kind.WORK: (
            "TargetService/CheckTarget", "TargetService/EvaluateTarget", "DatasetService/CreateDataset",
            "SamplingService/EstimateEvidence", "SamplingService/EvaluateLogProb", "SamplingService/EstimateLikelihood",
        ),
        Kind.WATCH: ("TrainingService/WatchTrainingJob",),
    }.items()
    for method in methods
}  # fmt: skip

_WORDS = {
    Kind.RECORD: ("calls for records are at work", "max_record_calls"),
    Kind.STREAM: ("streams of draws and files are open", "max_streams"),
    Kind.WORK: ("calls that compute are at work or wait for that", "max_work_calls"),
    Kind.WATCH: ("watches are open", "max_watches"),
}


def kind_of(method: str) -> Kind | None:
    """The kind of `service/Method`; None for one that is not ours."""
    return _KINDS.get(method, Kind.RECORD) if method.startswith(_OURS) else None


class Admission:
    """The places of one server."""

    def __init__(self, limits: Limits, seconds: float, metrics: Metrics) -> None:
        self._most = {kind: int(getattr(limits, limit)) for kind, (_, limit) in _WORDS.items()}
        self._seconds = seconds
        self._metrics = metrics
        self._taken = dict.fromkeys(Kind, 0)

    @asynccontextmanager
    async def enter(self, method: str) -> AsyncIterator[None]:
        """Goes around serving a call of `service/Method`.

        Raises:
            ResourceExhausted: All places of its kind are taken (SERVER_BUSY).
            DeadlineExceeded: A call for records was not done within the server's limit (CALL_TIMEOUT).
        """
        kind = kind_of(method)
        if kind is None:
            yield
            return
        if self._taken[kind] >= self._most[kind]:
            self._metrics.refused.labels(kind.value).inc()
            raise busy(*_WORDS[kind], self._most[kind])
        self._taken[kind] += 1
        try:
            async with asyncio.timeout(self._seconds if kind is Kind.RECORD else None) as limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"the call took longer than the server's limit of {self._seconds:g} s"
            raise DeadlineExceeded(Reason.CALL_TIMEOUT, message) from None
        finally:
            self._taken[kind] -= 1
