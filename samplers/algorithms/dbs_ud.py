"""Underdamped diffusion bridge sampler (Blessing et al. 2025): annealed force, a control on the momentum each way."""

from ..underdamped import UnderdampedBridge
from .kinetic import LANGEVIN, splitting
from .parts import Ingredients

__all__ = ["underdamped_diffusion_bridge_sampler"]


def underdamped_diffusion_bridge_sampler(given: Ingredients) -> UnderdampedBridge:
    """An underdamped DBS bridge."""
    forward, backward = given.momentum_control(), given.momentum_control()
    return UnderdampedBridge(
        given.prior(), given.annealing(), given.motion(), LANGEVIN, splitting(given.settings), forward, backward
    )
