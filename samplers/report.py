"""What a sampler says about itself (mirrors protos/report.proto). Imports nothing heavy."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

__all__ = ["EuboSource", "Facts", "Metrics", "PolishReport", "PreconditionReport", "Report", "Served", "Times"]


class Served(StrEnum):
    """What the draws of a sampler come from."""

    BRIDGE = "bridge"
    BASELINE = "baseline"
    """The preconditioner's law alone: training did not beat it."""


class EuboSource(StrEnum):
    """Where the end points behind an EUBO came from."""

    NONE = "none"
    """There is no EUBO."""
    EXACT = "exact"
    """The target's own sampler: the EUBO is an upper bound."""
    GIVEN = "given"
    """Draws that came with the training request and that nothing learned from: an upper bound only as far as they are
    draws of the target."""
    POLISHED = "polished"
    """The sampler's draws after Metropolis steps: an upper bound only as far as those have reached the target."""


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
    """Which coordinates were used, and what their Gaussian or mixture reaches by itself as an importance proposal."""

    name: str
    elbo: float | None = None
    """ELBO of the Gaussian or mixture alone; None for `none`, like the estimates below."""
    start: str = ""
    """The start that won: `zero`, `laplace` or `particles`."""
    log_z: float | None = None
    log_z_se: float | None = None
    ess_fraction: float | None = None
    k_hat: float | None = None
    modes: int = 0
    """Modes of the target that were seen; 0 where nobody looked."""
    components: int = 0
    """Gaussians in the prior; 0 for `none`."""
    beyond: float = 0.0
    """Share of Z that was found beyond the ends of the mixture, in [0, 1): what it lacks, at least."""


@dataclass(frozen=True, slots=True)
class PolishReport:
    """What Metropolis steps on the draws did: how far they moved a law that should not move."""

    draws: int
    """Draws that were polished."""
    steps: int
    """MALA steps of each; 0 for none."""
    step_size: float | None
    """Of MALA, in the sampler's coordinates; None without MALA."""
    imh_acceptance: float | None
    """Share of independence proposals that were accepted; None without them."""
    mala_acceptance: float | None
    """Share of MALA proposals that were accepted; None without them."""
    mean_shift: float
    """Largest change of a coordinate's mean, in its standard deviations before."""
    sd_shift: float
    """Largest change of a coordinate's standard deviation, as |log(after / before)|."""
    shift_se: float
    """Standard error of a coordinate's mean shift, in the same units: what chance alone does."""


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
    log_z_low: float | None = None
    """95 % interval of log Z, asymmetric; None in reports of versions that gave none."""
    log_z_high: float | None = None
    interval_holds: bool = False
    """Whether the weights are tame enough for the interval and the standard error of log Z to be claimed."""
    k_hat_limit: float | None = None
    """min(1 - 1 / log10(paths), 0.7): with a larger k-hat the weights are not to be trusted (Vehtari et al. 2024)."""
    eubo_source: EuboSource = EuboSource.NONE
    eubo_paths: int = 0
    """Backward paths behind the EUBO and the forward log Z."""
    log_z_forward: float | None = None
    """-log mean exp(-log w) on those backward paths: at least log Z in expectation, from the other side."""
    log_z_forward_se: float | None = None
    polish: PolishReport | None = None
    """Of the end points of those backward paths, where they are polished."""
    modes_seen: int | None = None
    """Modes that the preconditioner found; None where it looked for one Gaussian."""
    modes_drawn: int | None = None
    """Of these, those that hold at least a tenth of their share of the weighted draws."""

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
            "eubo_source": EuboSource(record.get("eubo_source", _eubo_source(record))),
            "polish": None if record.get("polish") is None else PolishReport(**record["polish"]),
        }
        return cls(**{**record, **parts})


def _eubo_source(record: dict[str, Any]) -> EuboSource:
    """Of a report that does not say: there was no EUBO but from exact draws."""
    return EuboSource.NONE if record.get("eubo") is None else EuboSource.EXACT


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
    """`precondition`, `warm-start`, `train` or `evaluate`."""
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
