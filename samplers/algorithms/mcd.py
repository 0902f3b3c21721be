"""Monte Carlo diffusion (Doucet et al. 2022): annealed Langevin dynamics with a learned backward control v.

The forward kernels have no network: samples improve by schedule, diffusion and prior only, the network tightens log Z.
"""

from ..overdamped import OverdampedBridge
from .langevin import LANGEVIN
from .parts import Ingredients

__all__ = ["monte_carlo_diffusion"]


def monte_carlo_diffusion(given: Ingredients) -> OverdampedBridge:
    """An MCD bridge."""
    prior, annealing, diffusion = given.prior(), given.annealing(), given.diffusion()
    return OverdampedBridge(prior, annealing, diffusion, LANGEVIN, None, given.control())
