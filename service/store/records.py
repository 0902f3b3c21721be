"""Stored resources as plain records. Times are microseconds since 1970 (UTC)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from gephyra.samplers.denoising.report import DenoisingMetrics, DenoisingReport
from gephyra.samplers.denoising.settings import DenoisingSettings
from gephyra.samplers.report import Metrics, Report
from gephyra.samplers.settings import TrainingSettings
from gephyra.targets.program import Site

from ..errors import Failure

__all__ = [
    "TERMINAL", "AnyMetrics", "AnyReport", "AnySettings", "ColumnFacts", "DatasetRecord", "JobRecord", "JobState",
    "SamplerRecord", "StoredEvent", "TargetRecord", "TargetState",
]  # fmt: skip

AnySettings: TypeAlias = TrainingSettings | DenoisingSettings
"""Of a sampler of a target, or of a model of a data set; so the next two."""
AnyMetrics: TypeAlias = Metrics | DenoisingMetrics
AnyReport: TypeAlias = Report | DenoisingReport


class TargetState(StrEnum):
    """Where a target stands."""

    CHECKING = "checking"
    READY = "ready"
    REJECTED = "rejected"


class JobState(StrEnum):
    """Where a training job stands."""

    QUEUED = "queued"
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


TERMINAL = frozenset({JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED})


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """A registered density."""

    name: str
    """Id within the tenant."""
    uid: str
    state: TargetState
    digest: str
    """SHA-256 of the canonical definition, which is also its address among the artefacts."""
    dim: int
    """0 until it is known."""
    source: str
    create_time: int
    sites: tuple[Site, ...] = ()
    log_z: float | None = None
    error: Failure | None = None
    """Why it was rejected; in state REJECTED only."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A training job."""

    name: str
    uid: str
    target: str
    """Id of the target; where a data set is modelled, of the one whose score is used, empty for none."""
    target_digest: str
    settings: AnySettings
    state: JobState
    create_time: int
    attempt: int = 0
    """Attempt in progress or last made, from 1. Only this attempt may write."""
    crashes: int = 0
    """Attempts that ended with the death of their worker."""
    error: Failure | None = None
    sampler: str = ""
    """Id of the sampler once SUCCEEDED."""
    metrics: AnyMetrics | None = None
    last_sequence: int = 0
    start: str = ""
    """Id of the sampler from which it goes on; empty for none."""
    start_digest: str = ""
    """SHA-256 of that sampler's file: it may be deleted before the job runs."""
    start_time: int | None = None
    end_time: int | None = None
    dataset: str = ""
    """Id of the data set that is modelled, or of the draws from which sampling a target starts, and its digest."""
    dataset_digest: str = ""
    owner: str = ""
    """The server that runs the attempt; empty while none does."""
    pausing: bool = False
    """A pause was asked for, and the attempt in progress has not stopped yet."""
    retry_of: str = ""
    """Id of the job that it repeats, which may be deleted since; empty for none."""
    lease: int | None = None
    """Until when that holds if nothing more is heard of it."""


@dataclass(frozen=True, slots=True)
class SamplerRecord:
    """A trained sampler, of a target or of a data set."""

    name: str
    uid: str
    target: str
    """Empty for a model of a data set."""
    target_digest: str
    job: str
    """Id of the job that trained it; empty for an imported one."""
    settings: AnySettings
    report: AnyReport
    dim: int
    sites: tuple[Site, ...]
    """Of a model of a data set: its columns."""
    digest: str
    """SHA-256 of the sampler's file, its address among the artefacts."""
    create_time: int
    dataset: str = ""
    """Id of the data set; empty where a target is sampled, or the data set of an imported model is not here."""
    dataset_digest: str = ""
    """Of the data set, wherever it is; empty where a target is sampled."""

    @property
    def of_data(self) -> bool:
        """Whether it is a model of a data set."""
        return isinstance(self.settings, DenoisingSettings)


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """What is known of one column of a data set; what the words mean is in `facts.py`."""

    name: str
    minimum: float
    maximum: float
    distinct: int
    constant: bool
    tied: bool
    on_levels: bool


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A table of numbers."""

    name: str
    uid: str
    display_name: str
    origin: str
    """SHA-256 of what it was made from: the uploaded bytes, how they are read, names of columns."""
    content: str
    """SHA-256 of the values, their address among the contents of data sets: little-endian, C order."""
    digest: str
    """SHA-256 of content, shape, type and names of columns."""
    rows: int
    columns: int
    dtype: str
    """Its numpy name."""
    on_levels: bool
    create_time: int
    facts: tuple[ColumnFacts, ...] = ()
    """A column each, in order; none in a page of a listing."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the values."""
        return self.rows * self.columns * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event of a job."""

    sequence: int
    content: bytes
