"""How draws are asked for: weighted or resampled, at the end or along the path, polished. Imports nothing heavy."""

from dataclasses import dataclass
from enum import StrEnum

from .settings import Method

__all__ = ["SMC_METHODS", "Draws", "Polish"]

SMC_METHODS = (Method.CMCD, Method.MCD, Method.ULA)
"""Methods whose paths are meant to have the annealed densities as marginals: only those can be resampled on the way."""

_MOST_STEPS = 1000


class Polish(StrEnum):
    """Metropolis steps on the end points of a block, which leave the target invariant."""

    NONE = "none"
    IMH = "imh"
    """Independence Metropolis along the block, on the path weights: equal weights, exact as blocks grow."""
    MALA = "mala"
    """Langevin proposals from each draw, which keeps its weight."""
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

    With neither resampling nor independence steps, draws carry the log weights that make expectations exact; with
    either, all draws of a block carry the block's estimate of log Z, so that blocks still count by their weight.
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

    def check(self, method: Method) -> None:
        """Raises ValueError where a sampler of this method cannot draw so."""
        if self.smc and method not in SMC_METHODS:
            raise ValueError(
                f"smc is for methods whose paths follow the annealed densities ({', '.join(SMC_METHODS)}), "
                f"this sampler's is {method}"
            )
