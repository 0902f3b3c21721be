"""Underdamped controlled Monte Carlo diffusion: annealed force and one control u, backward -u."""

from ..underdamped import UnderdampedBridge
from .kinetic import LANGEVIN, splitting
from .parts import Ingredients

__all__ = ["underdamped_controlled_monte_carlo_diffusion"]


def underdamped_controlled_monte_carlo_diffusion(given: Ingredients) -> UnderdampedBridge:
    """An underdamped CMCD bridge."""
    prior, annealing, motion, control = given.prior(), given.annealing(), given.motion(), given.momentum_control()
    how = splitting(given.settings)
    return UnderdampedBridge(prior, annealing, motion, LANGEVIN, how, control, None, mirrored=True)
