"""Unadjusted Langevin annealing: importance sampling with Langevin kernels and their reversals (Thin et al. 2021).

No networks: schedule, diffusion and prior are all that is learned.
"""

from ..overdamped import OverdampedBridge
from .langevin import LANGEVIN
from .parts import Ingredients

__all__ = ["unadjusted_langevin_annealing"]


def unadjusted_langevin_annealing(given: Ingredients) -> OverdampedBridge:
    """A ULA bridge."""
    return OverdampedBridge(given.prior(), given.annealing(), given.diffusion(), LANGEVIN, None, None)
