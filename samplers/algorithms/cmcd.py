"""Controlled Monte Carlo diffusion (Vargas et al. 2024).

Annealed Langevin drift in both directions and one control u, used with opposite signs: v = -u.
"""

from ..overdamped import OverdampedBridge
from .langevin import LANGEVIN
from .parts import Ingredients

__all__ = ["controlled_monte_carlo_diffusion"]


def controlled_monte_carlo_diffusion(given: Ingredients) -> OverdampedBridge:
    """A CMCD bridge."""
    prior, annealing, diffusion = given.prior(), given.annealing(), given.diffusion()
    return OverdampedBridge(prior, annealing, diffusion, LANGEVIN, given.control(), None, mirrored=True)
