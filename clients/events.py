"""What a training job tells while it runs."""

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from gephyra.protos import training_service_pb2

from .words import JobState

__all__ = ["Event", "LevelBin", "Metrics", "event_from_message", "metrics_from_message"]


@dataclass(frozen=True, slots=True)
class LevelBin:
    """A range of noise levels, by the log signal-to-noise ratio."""

    low: float
    high: float
    loss: float
    """Over that of a Gaussian with the data's moments; NaN where no level fell."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """State of a training run at one optimiser step; the estimates are rough, for watching only."""

    stage: str
    """`precondition`, `warm-start`, `train` or `evaluate`."""
    step: int
    seconds: float
    """Seconds spent of the budget."""
    fraction: float
    """Share of the budget that is done, in [0, 1]."""
    loss: float
    """Of a model of data: of recent steps, as a fraction of the loss of a Gaussian with the data's moments."""
    elbo: float
    log_z: float
    ess_fraction: float
    steps_per_second: float
    target_evaluations: int
    non_finite_paths: int
    validation: float | None = None
    """Of a model of data: the same of the averaged parameters on rows held out; NaN before it was measured."""
    bins: tuple[LevelBin, ...] = ()
    """Of a model of data: the loss of recent steps by noise level."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds of the budget that are left; None at its very start."""
        return self.seconds * (1 / self.fraction - 1) if self.fraction > 0 else None


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a job: exactly one of `state`, `metrics`, `checkpoint_step` and `log` is set."""

    sequence: int
    """From 1, without gaps, for the life of the job: pass it to `watch` to go on from here. In a watch it is that of
    the event before, plus 1, plus `coalesced`."""
    attempt: int
    time: datetime
    state: JobState | None = None
    metrics: Metrics | None = None
    checkpoint_step: int | None = None
    """Optimiser step at which a checkpoint was written."""
    log: str | None = None
    coalesced: int = 0
    """How many metrics events right before this one were left out, because this reader had fallen behind."""

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values, without the parts that are not set."""
        record = {**asdict(self), "time": self.time.isoformat()}
        return {name: value for name, value in record.items() if value is not None}


def metrics_from_message(message: training_service_pb2.TrainingMetrics) -> Metrics:
    """The record of wire metrics."""
    values = {field.name: getattr(message, field.name) for field in fields(Metrics)}
    values["validation"] = message.validation if message.HasField("validation") else None
    values["bins"] = tuple(LevelBin(each.low, each.high, each.loss) for each in message.bins)
    return Metrics(**values)


def event_from_message(message: training_service_pb2.TrainingEvent) -> Event | None:
    """The record of a wire event; None for a bookmark, and for a kind that this client does not know."""
    content: dict[str, Any]
    match message.WhichOneof("event"):
        case "state":
            content = {"state": JobState.of(message.state)}
        case "metrics":
            content = {"metrics": metrics_from_message(message.metrics)}
        case "checkpoint":
            content = {"checkpoint_step": message.checkpoint.step}
        case "log":
            content = {"log": message.log}
        case _:
            return None
    time = message.time.ToDatetime(tzinfo=UTC)
    return Event(sequence=message.sequence, attempt=message.attempt, time=time, coalesced=message.coalesced, **content)
