"""Langevin diffusion variational inference (Geffner and Domke 2023): annealed force, a learned backward control.

The forward transitions have no network: samples improve by schedule, friction, steps and prior only.
"""

from ..underdamped import UnderdampedBridge
from .kinetic import LANGEVIN, splitting
from .parts import Ingredients

__all__ = ["underdamped_monte_carlo_diffusion"]


def underdamped_monte_carlo_diffusion(given: Ingredients) -> UnderdampedBridge:
    """An underdamped MCD bridge."""
    prior, annealing, motion, control = given.prior(), given.annealing(), given.motion(), given.momentum_control()
    return UnderdampedBridge(prior, annealing, motion, LANGEVIN, splitting(given.settings), None, control)
