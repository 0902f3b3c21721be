"""Diffusion bridge sampler (Richter and Berner 2024; Blessing et al. 2025).

Annealed Langevin drift in both directions, a forward control u and an independent backward control v.
"""

from ..overdamped import OverdampedBridge
from .langevin import LANGEVIN
from .parts import Ingredients

__all__ = ["diffusion_bridge_sampler"]


def diffusion_bridge_sampler(given: Ingredients) -> OverdampedBridge:
    """A DBS bridge."""
    forward, backward = given.control(), given.control()
    return OverdampedBridge(given.prior(), given.annealing(), given.diffusion(), LANGEVIN, forward, backward)
