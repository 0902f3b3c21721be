"""What a model of data says of itself, and while it is trained. Imports nothing heavy."""

from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = ["DenoisingMetrics", "DenoisingReport", "LevelBin", "Likelihood"]


@dataclass(frozen=True, slots=True)
class LevelBin:
    """A range of noise levels."""

    low: float
    high: float
    loss: float
    """Over that of a Gaussian with the data's moments; NaN where no level fell."""


@dataclass(frozen=True, slots=True)
class DenoisingMetrics:
    """State of a training run at one optimiser step."""

    stage: str
    """`train` or `evaluate`."""
    step: int
    seconds: float
    """Seconds spent of the budget."""
    fraction: float
    """Share of the budget that is done, in [0, 1]."""
    loss: float
    """Of recent steps, as a fraction of the Gaussian's; NaN before there are any."""
    validation: float
    """Of the averaged parameters on rows held out, as a fraction of the Gaussian's; NaN before it was measured."""
    steps_per_second: float
    bins: tuple[LevelBin, ...] = ()
    """The loss of recent steps by noise level."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A mean negative log likelihood over rows."""

    nats: float
    standard_error: float
    """Over rows."""
    bits_per_dim: float
    rows: int


@dataclass(frozen=True, slots=True)
class DenoisingReport:
    """A trained model of data."""

    rows: int
    """That it was trained on."""
    dim: int
    discrete: bool
    """Whether likelihoods are probabilities of levels, not densities."""
    steps: int
    """Optimiser steps done."""
    best_step: int
    """At which the parameters that were kept were the average."""
    loss: float
    """Of the parameters kept, on rows held out, as a fraction of the Gaussian's; NaN without such rows."""
    validation: Likelihood | None
    """Negative log likelihood of these rows by the ELBO; the stopping point was chosen on them."""
    gaussian: Likelihood | None
    """The same of the Gaussian with the training data's moments; None for levels."""
    train_seconds: float
    target_evaluations: int = 0
    """Rows at which the score of a target was asked for."""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """The report written by `to_json`. Raises TypeError for what is not such a record."""
        parts: dict[str, Any] = {
            name: Likelihood(**record[name]) for name in ("validation", "gaussian") if record.get(name)
        }
        return cls(**{**record, **parts, "warnings": tuple(record.get("warnings", ()))})
