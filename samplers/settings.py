"""What a user may choose about training. Imports nothing heavy, so that the API process can validate with it."""

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

__all__ = [
    "Budget", "Device", "Goal", "Inconsistent", "Integrator", "Learn", "Loss", "Method", "Precision", "Precondition",
    "Preset", "TrainingSettings",
]  # fmt: skip


class Inconsistent(ValueError):
    """Values that are each in their domain and do not go together."""


class Method(StrEnum):
    """The bridge that is trained; `-ud` is underdamped."""

    DBS = "dbs"
    CMCD = "cmcd"
    DIS = "dis"
    DDS = "dds"
    DDPM = "ddpm"
    PIS = "pis"
    MCD = "mcd"
    ULA = "ula"
    DBS_UD = "dbs-ud"
    CMCD_UD = "cmcd-ud"
    DIS_UD = "dis-ud"
    MCD_UD = "mcd-ud"
    ULA_UD = "ula-ud"

    @property
    def underdamped(self) -> bool:
        """True if paths carry a momentum."""
        return self.value.endswith("-ud")


class Integrator(StrEnum):
    """How an underdamped step is split; O is exact. OBABO asks the control twice a step, OBAB once."""

    OBAB = "obab"
    OBABO = "obabo"


class Loss(StrEnum):
    """The loss it is trained with."""

    RKL_LD = "rkl-ld"
    RKL_R = "rkl-r"
    RKL_STL = "rkl-stl"
    LV = "lv"
    TB = "tb"
    SUBTB = "subtb"
    FKL = "fkl"
    TR_LV = "tr-lv"

    @property
    def reparametrised(self) -> bool:
        """True if the gradient goes through the simulation."""
        return self in {Loss.RKL_R, Loss.RKL_STL}

    @property
    def from_draws(self) -> bool:
        """True if it learns from draws of the target."""
        return self is Loss.FKL


class Precondition(StrEnum):
    """The coordinates it is trained in."""

    NONE = "none"
    DIAGONAL = "diagonal"
    GAUSSIAN = "gaussian"
    ANNEALED = "annealed"
    AUTO = "auto"


class Device(StrEnum):
    """Where it is trained; `auto` takes a GPU where there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """Of states and networks; log weights are always float64."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"


# What good coordinates take on most targets, twice: a budget of fewer iterations does not have to do without.
_LEAST_EVALUATIONS = 500_000


@dataclass(frozen=True, slots=True)
class Budget:
    """When training ends: after `iterations`, `seconds` or `target_evaluations`, exactly one of them."""

    iterations: int | None = None
    """Optimiser steps, at least 1."""
    seconds: float | None = None
    """Wall seconds from the first preconditioner step to the last optimiser step, positive."""
    target_evaluations: int | None = None
    """Points at which the target is evaluated, preconditioning included, at least 1."""

    def __post_init__(self) -> None:
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if len(given) != 1:
            came = ", ".join(f"{name} = {value}" for name, value in given.items()) or "none"
            raise ValueError(f"budget: give one of iterations, seconds and target_evaluations, got {came}")
        ((name, value),) = given.items()
        if name == "seconds" and not (0 < value < math.inf):
            raise ValueError(f"seconds must be positive and finite, got {value}")
        if name != "seconds" and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")

    def fraction(self, step: int, seconds: float, evaluations: int) -> float:
        """Share of the budget that is used up, in [0, 1]."""
        used = 0.0
        if self.iterations is not None:
            used = step / self.iterations
        elif self.seconds is not None:
            used = seconds / self.seconds
        elif self.target_evaluations is not None:
            used = evaluations / self.target_evaluations
        return min(1.0, used)

    def fraction_before_steps(self, seconds: float, evaluations: int, a_step: int) -> float:
        """The same before the first step; iterations stand for the evaluations that they take, `a_step` each."""
        if self.iterations is None:
            return self.fraction(0, seconds, evaluations)
        return min(1.0, evaluations / max(self.iterations * a_step, _LEAST_EVALUATIONS))


@dataclass(frozen=True, slots=True)
class Goal:
    """When training may end before its budget: as soon as one of these is reached on the paths of recent steps."""

    ess_fraction: float | None = None
    """Effective sample size over number of paths, in (0, 1)."""
    gap: float | None = None
    """log Z - ELBO in nats, positive."""

    def __post_init__(self) -> None:
        if self.ess_fraction is not None and not 0 < self.ess_fraction < 1:
            raise ValueError(f"goal_ess_fraction must be between 0 and 1, got {self.ess_fraction}")
        if self.gap is not None and not 0 < self.gap < math.inf:
            raise ValueError(f"goal_gap must be positive and finite, got {self.gap}")

    def reached(self, ess_fraction: float, gap: float) -> bool:
        """Whether estimates (NaN where there are none) meet it."""
        return (self.ess_fraction is not None and ess_fraction >= self.ess_fraction) or (
            self.gap is not None and gap <= self.gap
        )


@dataclass(frozen=True, slots=True)
class Learn:
    """What is learned beside the control networks, and how fast: rates multiply the learning rate."""

    diffusion: bool = True
    """Diffusion coefficients, one a dimension (underdamped: friction and step size)."""
    prior: bool = True
    """Mean and scale of the prior, one a dimension; of a mixture, those of each component and the weights."""
    annealing: bool = True
    """The annealing schedule beta."""
    time: bool = True
    """The share of time of each step."""
    diffusion_rate: float = 1.0
    prior_rate: float = 1.0
    annealing_rate: float = 1.0
    time_rate: float = 1.0

    def __post_init__(self) -> None:
        for name in ("diffusion_rate", "prior_rate", "annealing_rate", "time_rate"):
            value = getattr(self, name)
            if not 0 < value <= 100:
                raise ValueError(f"{name} must be positive and at most 100, got {value}")


_RANGES = {
    "batch_size": (2, 2**16),
    "steps": (1, 4096),
    "width": (1, 4096),
    "seed": (0, 2**64 - 1),
    "workers": (1, 64),
}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train a sampler. Raises ValueError, beginning with the field's name, for values outside their domain."""

    method: Method = Method.DBS
    loss: Loss = Loss.RKL_LD
    precondition: Precondition = Precondition.AUTO
    integrator: Integrator | None = None
    """Of an underdamped method; None: OBAB. Overdamped methods have none."""
    budget: Budget = field(default_factory=lambda: Budget(seconds=60.0))
    goal: Goal = field(default_factory=Goal)
    seed: int = 0
    """Seed of all training noise, in [0, 2**64)."""
    batch_size: int = 256
    """Paths a step, at least 2."""
    steps: int = 32
    """Transitions a path, at least 1."""
    width: int = 64
    """Width of the control networks, at least 1."""
    learning_rate: float = 5e-3
    """Peak learning rate of Adam, positive."""
    learn: Learn = field(default_factory=Learn)
    reward_to_go: bool = False
    """Weigh each forward kernel by what comes after it only (rKL-LD)."""
    ema: float = 0.0
    """Decay a step of the averaged parameters that the sampler keeps, in [0, 1); 0: the last ones."""
    device: Device = Device.AUTO
    precision: Precision = Precision.FLOAT32
    workers: int = 1
    """Processes that share the paths of a step, at most 64; the batch must be a multiple. They change rounding only."""

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} must be between {least} and {most}, got {value}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate must be between 0 and 1, got {self.learning_rate}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be at least 0 and below 1, got {self.ema}")
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.integrator is not None and not self.method.underdamped:
            allowed = ", ".join(method for method in Method if method.underdamped)
            raise Inconsistent(f"integrator is for underdamped methods ({allowed}), got it with method {self.method}")
        if self.reward_to_go and self.loss is not Loss.RKL_LD:
            raise Inconsistent(f"reward_to_go is for loss {Loss.RKL_LD}, got it with loss {self.loss}")
        if self.batch_size % self.workers:
            raise Inconsistent(
                f"workers must divide batch_size, so that each has as many paths: got {self.workers} workers and "
                f"batch_size {self.batch_size}"
            )

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """The settings written by `to_json`, of this version or an older one.

        Raises TypeError or ValueError for what is not such a record.
        """
        words = {"method": Method, "loss": Loss, "precondition": Precondition, "device": Device, "precision": Precision}
        parts: dict[str, Any] = {name: word(record[name]) for name, word in words.items() if name in record}
        if record.get("integrator") is not None:
            parts["integrator"] = Integrator(record["integrator"])
        parts |= {"budget": Budget(**record["budget"]), "learn": Learn(**record["learn"])}
        parts["goal"] = Goal(**record.get("goal", {}))
        return cls(**{**record, **parts})


class Preset(StrEnum):
    """A budget, and settings that suit it, by one word."""

    QUICK = "quick"
    STANDARD = "standard"
    THOROUGH = "thorough"

    @property
    def seconds(self) -> float:
        """Wall seconds of training."""
        return {Preset.QUICK: 15.0, Preset.STANDARD: 60.0, Preset.THOROUGH: 300.0}[self]
