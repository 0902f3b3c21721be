"""What a user may choose about training. Imports nothing heavy, so that the API process can validate with it."""

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

__all__ = ["Budget", "Learn", "Loss", "Method", "Precondition", "TrainingSettings"]


class Method(StrEnum):
    """The bridge that is trained."""

    DBS = "dbs"
    CMCD = "cmcd"


class Loss(StrEnum):
    """The loss it is trained with."""

    RKL_LD = "rkl-ld"
    RKL_R = "rkl-r"
    LV = "lv"


class Precondition(StrEnum):
    """The coordinates it is trained in."""

    NONE = "none"
    DIAGONAL = "diagonal"
    GAUSSIAN = "gaussian"
    ANNEALED = "annealed"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Budget:
    """When training ends: after `iterations` optimiser steps or `seconds` of wall time, exactly one of them."""

    iterations: int | None = None
    """Optimiser steps, at least 1."""
    seconds: float | None = None
    """Wall seconds from the first preconditioner step to the last optimiser step, positive."""

    def __post_init__(self) -> None:
        if (self.iterations is None) == (self.seconds is None):
            raise ValueError(f"budget: give one of iterations and seconds, got {self.iterations} and {self.seconds}")
        if self.iterations is not None and self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")
        if self.seconds is not None and not (0 < self.seconds < math.inf):
            raise ValueError(f"seconds must be positive and finite, got {self.seconds}")

    def fraction(self, step: int, seconds: float) -> float:
        """Share of the budget that `step` optimiser steps or `seconds` have used, in [0, 1]."""
        used = step / self.iterations if self.iterations is not None else seconds / (self.seconds or math.inf)
        return min(1.0, used)


@dataclass(frozen=True, slots=True)
class Learn:
    """What is learned beside the control networks."""

    diffusion: bool = True
    """Diffusion coefficients, one a dimension."""
    prior: bool = True
    """Mean and scale of the prior, one a dimension."""
    annealing: bool = True
    """The annealing schedule beta."""


_RANGES = {"batch_size": (2, 2**16), "steps": (1, 4096), "width": (1, 4096), "seed": (0, 2**64 - 1)}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train a sampler. Raises ValueError, naming the field, for values outside their domain."""

    method: Method = Method.DBS
    loss: Loss = Loss.RKL_LD
    precondition: Precondition = Precondition.GAUSSIAN
    budget: Budget = field(default_factory=lambda: Budget(seconds=60.0))
    seed: int = 0
    """Seed of all training noise, in [0, 2**64)."""
    batch_size: int = 256
    """Paths a step, at least 2."""
    steps: int = 64
    """Transitions a path, at least 1."""
    width: int = 64
    """Width of the control networks, at least 1."""
    learning_rate: float = 5e-3
    """Peak learning rate of Adam, positive."""
    learn: Learn = field(default_factory=Learn)

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} must be between {least} and {most}, got {value}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate must be between 0 and 1, got {self.learning_rate}")

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """The settings written by `to_json`. Raises TypeError or ValueError for what is not such a record."""
        parts = {
            "method": Method(record["method"]),
            "loss": Loss(record["loss"]),
            "precondition": Precondition(record["precondition"]),
            "budget": Budget(**record["budget"]),
            "learn": Learn(**record["learn"]),
        }
        return cls(**{**record, **parts})
