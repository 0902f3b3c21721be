"""Stored resources as plain records. Times are microseconds since 1970 (UTC)."""

from dataclasses import dataclass
from enum import StrEnum

from gephyra.samplers.report import Metrics, Report
from gephyra.samplers.settings import TrainingSettings
from gephyra.targets.program import Site

from ..errors import Failure

__all__ = ["TERMINAL", "JobRecord", "JobState", "SamplerRecord", "StoredEvent", "TargetRecord", "TargetState"]


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
    """Id of the target."""
    target_digest: str
    settings: TrainingSettings
    state: JobState
    create_time: int
    attempt: int = 0
    """Attempt in progress or last made, from 1. Only this attempt may write."""
    crashes: int = 0
    """Attempts that ended with the death of their worker."""
    error: Failure | None = None
    sampler: str = ""
    """Id of the sampler once SUCCEEDED."""
    metrics: Metrics | None = None
    last_sequence: int = 0
    start: str = ""
    """Id of the sampler from which it goes on; empty for none."""
    start_digest: str = ""
    """SHA-256 of that sampler's file: it may be deleted before the job runs."""
    start_time: int | None = None
    end_time: int | None = None


@dataclass(frozen=True, slots=True)
class SamplerRecord:
    """A trained sampler."""

    name: str
    uid: str
    target: str
    target_digest: str
    job: str
    """Id of the job that trained it; empty for an imported one."""
    settings: TrainingSettings
    report: Report
    dim: int
    sites: tuple[Site, ...]
    digest: str
    """SHA-256 of the sampler's file, its address among the artefacts."""
    create_time: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event of a job."""

    sequence: int
    content: bytes
