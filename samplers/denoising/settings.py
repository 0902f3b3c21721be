"""What a user may choose about a denoising model; `catalogue` has what the words stand for.

Imports nothing heavy.
"""

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from ..settings import Budget, Device, Precision

__all__ = [
    "DenoisingSettings", "Head", "LevelsName", "PredictionName", "ReconstructionName", "ScheduleName", "SolverName",
    "WeightingName",
]  # fmt: skip


class ScheduleName(StrEnum):
    """alpha, sigma and the density of levels."""

    COSINE = "cosine"
    LINEAR = "linear"
    UNIFORM = "uniform-log-snr"
    RECTIFIED = "rectified"
    LOGIT_NORMAL = "logit-normal"
    EDM = "edm"


class PredictionName(StrEnum):
    """What the network predicts."""

    NOISE = "noise"
    DATA = "data"
    VELOCITY = "velocity"
    SCORE = "score"
    FLOW_VELOCITY = "flow-velocity"
    EDM = "edm"
    ENERGY = "energy"


class WeightingName(StrEnum):
    """How levels are weighed; a function of the user's own is no word."""

    ELBO = "elbo"
    SIMPLE = "simple"
    RESCALED = "rescaled"
    MIN_SNR = "min-snr"
    SOFT_MIN_SNR = "soft-min-snr"
    P2 = "p2"
    SIGMOID = "sigmoid"
    TRUNCATED_SNR = "truncated-snr"
    EDM = "edm"
    FLOW_MATCHING = "flow-matching"


class LevelsName(StrEnum):
    """Where the levels of a batch lie; the objective does not depend on it."""

    UNIFORM = "uniform"
    LOW_DISCREPANCY = "low-discrepancy"
    STRATIFIED = "stratified"
    UNIFORM_LOG_SNR = "uniform-log-snr"
    LOGNORMAL = "lognormal"
    LOGIT_NORMAL = "logit-normal"
    ADAPTIVE = "adaptive"


class SolverName(StrEnum):
    """How draws are made."""

    ANCESTRAL = "ancestral"
    ANCESTRAL_LARGE = "ancestral-large"
    DDIM = "ddim"
    DPM_SOLVER = "dpm-solver"
    HEUN = "heun"
    EULER_MARUYAMA = "euler-maruyama"
    FLOW = "flow"


class ReconstructionName(StrEnum):
    """What the last term of the ELBO is."""

    CONTINUOUS = "continuous"
    DISCRETE = "discrete"
    DEQUANTISED = "dequantised"


class Head(StrEnum):
    """What a network answers with."""

    AUTO = "auto"
    """`levels` where the data lie on a small grid of levels, else `continuous`."""
    CONTINUOUS = "continuous"
    """A prediction, beside that of a Gaussian."""
    LEVELS = "levels"
    """Probabilities of each level in each dimension."""


_RANGES: dict[str, tuple[int, int]] = {
    "batch_size": (2, 2**16),
    "width": (1, 4096),
    "blocks": (1, 64),
    "seed": (0, 2**64 - 1),
    "solver_steps": (1, 4096),
}


@dataclass(frozen=True, slots=True)
class DenoisingSettings:
    """How to train a model of data. Raises ValueError, beginning with the name of a field outside its domain."""

    prediction: PredictionName | None = None
    """None: the data for a head of levels, which predicts nothing else, and the velocity otherwise."""
    weighting: WeightingName = WeightingName.ELBO
    schedule: ScheduleName = ScheduleName.COSINE
    levels: LevelsName = LevelsName.ADAPTIVE
    head: Head = Head.AUTO
    time_steps: int | None = None
    """Steps of discrete time, at least 2; None: continuous."""
    high: float | None = None
    """Highest lambda of the model, above 0; None: from the finest direction of the data."""
    budget: Budget = field(default_factory=lambda: Budget(seconds=300.0))
    seed: int = 0
    """Seed of all training noise, in [0, 2**64)."""
    batch_size: int = 256
    """Rows a step, at least 2."""
    width: int = 128
    """Hidden width of the network, or channels of the U-Net's finest resolution, at least 1."""
    blocks: int = 3
    """Residual blocks, at least 1; of the U-Net: resolutions."""
    image: tuple[int, int, int] | None = None
    """Channels, height and width where rows are images; a U-Net then. None: rows are vectors."""
    learning_rate: float = 2e-3
    """Peak learning rate of Adam in two dimensions, positive; it falls like 1 / sqrt(dim)."""
    weight_decay: float = 1.0
    """What weights lose in a step, over the learning rate, with 1000 rows, at least 0; it falls like 1 / rows."""
    ema: float = 0.999
    """Decay a step of the averaged parameters that the sampler keeps, in [0, 1); 0: the last ones."""
    validation: float = 0.1
    """Share of the rows that only choose the stopping point, in [0, 1)."""
    solver: SolverName = SolverName.DPM_SOLVER
    solver_steps: int = 32
    """Steps of a draw, at least 1."""
    device: Device = Device.AUTO
    precision: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} must be between {least} and {most}, got {value}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate must be between 0 and 1, got {self.learning_rate}")
        if not 0 <= self.weight_decay <= 1000:
            raise ValueError(f"weight_decay must be between 0 and 1000, got {self.weight_decay}")
        for name in ("ema", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        self._check_optional()

    def _check_optional(self) -> None:
        if self.time_steps is not None and not 2 <= self.time_steps <= 2**20:
            raise ValueError(f"time_steps must be between 2 and {2**20}, got {self.time_steps}")
        if self.high is not None and not 0 < self.high < math.inf:
            raise ValueError(f"high must be positive and finite, got {self.high}")
        if self.image is not None and not (len(self.image) == 3 and min(self.image) >= 1):
            raise ValueError(f"image must be channels, height and width, each at least 1, got {self.image}")
        if self.budget.target_evaluations is not None:
            raise ValueError("budget: data have no target to evaluate; give iterations or seconds")
        if self.head is Head.LEVELS and self.prediction not in (None, PredictionName.DATA):
            raise ValueError(f"prediction must be {PredictionName.DATA} with head {self.head}, got {self.prediction}")

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """The settings written by `to_json`. Raises TypeError or ValueError for what is not such a record."""
        words: dict[str, type[StrEnum]] = {
            "prediction": PredictionName, "weighting": WeightingName, "schedule": ScheduleName, "levels": LevelsName,
            "head": Head, "solver": SolverName, "device": Device, "precision": Precision,
        }  # fmt: skip
        parts: dict[str, Any] = {name: word(record[name]) for name, word in words.items() if record.get(name)}
        if record.get("image"):
            parts["image"] = tuple(record["image"])
        return cls(**{**record, **parts, "budget": Budget(**record["budget"])})
