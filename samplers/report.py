"""What a sampler says about itself (mirrors protos/report.proto). Imports nothing heavy."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

__all__ = ["Facts", "Metrics", "PreconditionReport", "Report", "Served", "Times"]


class Served(StrEnum):
    """What the draws of a sampler come from."""

    BRIDGE = "bridge"
    BASELINE = "baseline"
    """The preconditioner's law alone: training did not beat it."""


@dataclass(frozen=True, slots=True)
class Times:
    """Wall seconds by part."""

    precondition_seconds: float = 0.0
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    startup_seconds: float = 0.0
    """Imports, loading and compiling before the first preconditioner step."""


@dataclass(frozen=True, slots=True)
class PreconditionReport:
    """Which coordinates were used, and what the preconditioner's law reaches by itself; None: not known."""

    name: str
    elbo: float | None = None
    """Mean log weight of draws of that law; None for `none`."""
    start: str = ""
    """The start that won, for example `zero` or `laplace`."""
    log_z: float | None = None
    log_z_se: float | None = None
    ess_fraction: float | None = None
    k_hat: float | None = None
    modes: int | None = None
    """Modes that were found."""
    components: int | None = None
    """Components of the mixture that was kept."""


@dataclass(frozen=True, slots=True)
class Report:
    """Estimates on fresh paths; see protos/report.proto for each field."""

    elbo: float
    elbo_se: float
    log_z: float
    log_z_se: float
    ess_fraction: float
    k_hat: float
    paths: int
    seed: int
    non_finite_paths: int = 0
    target_evaluations: int = 0
    times: Times = field(default_factory=Times)
    precondition: PreconditionReport = field(default_factory=lambda: PreconditionReport("none"))
    warnings: tuple[str, ...] = ()
    eubo: float | None = None
    eubo_se: float | None = None
    reference_log_z: float | None = None
    served: Served = Served.BRIDGE

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """The report written by `to_json`. Raises TypeError for unknown or missing fields."""
        parts = {
            "times": Times(**record["times"]),
            "precondition": PreconditionReport(**record["precondition"]),
            "warnings": tuple(record["warnings"]),
            "served": Served(record.get("served", Served.BRIDGE)),
        }
        return cls(**{**record, **parts})


@dataclass(frozen=True, slots=True)
class Facts:
    """What a report says that its paths do not: known before they are drawn."""

    times: Times = field(default_factory=Times)
    precondition: PreconditionReport = field(default_factory=lambda: PreconditionReport("none"))
    served: Served = Served.BRIDGE
    caveats: tuple[str, ...] = ()
    """Warnings that no number shows."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """State of a training run at one optimiser step; see TrainingMetrics in protos/training_service.proto."""

    stage: str
    """`precondition`, `train` or `evaluate`."""
    step: int
    seconds: float
    """Seconds spent of the budget."""
    fraction: float
    """Share of the budget that is done, in [0, 1]."""
    loss: float
    elbo: float
    log_z: float
    ess_fraction: float
    steps_per_second: float
    target_evaluations: int
    non_finite_paths: int
