"""Uncorrected Hamiltonian annealing (Geffner and Domke 2021; Zhang et al. 2021): annealed force, no networks.

Schedule, friction, steps and prior are all that is learned.
"""

from ..underdamped import UnderdampedBridge
from .kinetic import LANGEVIN, splitting
from .parts import Ingredients

__all__ = ["uncorrected_hamiltonian_annealing"]


def uncorrected_hamiltonian_annealing(given: Ingredients) -> UnderdampedBridge:
    """A UHA bridge."""
    prior, annealing, motion = given.prior(), given.annealing(), given.motion()
    return UnderdampedBridge(prior, annealing, motion, LANGEVIN, splitting(given.settings), None, None)
