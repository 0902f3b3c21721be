"""How draws are asked for: weighted or resampled, at the end or along the path, polished. Imports nothing heavy."""

from dataclasses import dataclass
from enum import StrEnum

from .settings import Method

__all__ = ["SMC_METHODS", "Draws", "Polish"]

SMC_METHODS = (Method.CMCD, Method.MCD, Method.ULA, Method.CMCD_UD, Method.MCD_UD, Method.ULA_UD)
"""Methods whose paths are meant to have the annealed densities as marginals: only those are resampled on the way."""

_MOST_STEPS = 1000


class Polish(StrEnum):
    """Metropolis steps on the end points of a block, which leave the target invariant."""

    NONE = "none"
    IMH = "imh"
    """An independence chain along the block on the path weights, in place of resampling."""
    MALA = "mala"
    """Langevin steps from each draw, which keeps its weight."""
    IMH_MALA = "imh-mala"
    """First the one, then the other."""

    @property
    def independence(self) -> bool:
        """True if there are independence steps."""
        return self in {Polish.IMH, Polish.IMH_MALA}

    @property
    def langevin(self) -> bool:
        """True if there are Langevin steps."""
        return self in {Polish.MALA, Polish.IMH_MALA}


@dataclass(frozen=True, slots=True)
class Draws:
    """How a block of draws is made. Raises ValueError, beginning with the field's name, for what does not go together.

    However they are made, the mean of w f(x) over a block has expectation Z E_target[f]. With neither `resample` nor
    independence steps, each draw has its own weight; with either, all draws of a block carry the block's mean weight:
    they count the same within the block, and blocks still count by what they found.
    """

    resample: bool = False
    """Resample the draws of each block by their weights (systematic resampling)."""
    smc: bool = False
    """Resample along the paths too, wherever the effective sample size falls below half the block."""
    polish: Polish = Polish.NONE
    polish_steps: int = 10
    """MALA steps, where the polish has them."""

    def __post_init__(self) -> None:
        if not 1 <= self.polish_steps <= _MOST_STEPS:
            raise ValueError(f"polish_steps must be between 1 and {_MOST_STEPS}, got {self.polish_steps}")
        if self.smc and self.polish.independence:
            raise ValueError(
                f"polish {self.polish} needs independent paths as proposals, and smc makes them depend on each other: "
                f"use polish {Polish.MALA} or leave smc out"
            )

    def check(self, method: Method) -> None:
        """Raises ValueError where a sampler of this method cannot draw so."""
        if self.smc and method not in SMC_METHODS:
            raise ValueError(
                f"smc is for methods whose paths follow the annealed densities ({', '.join(SMC_METHODS)}), "
                f"this sampler's is {method}"
            )
