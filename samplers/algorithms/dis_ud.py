"""Underdamped time-reversed diffusion sampler.

Backward, the prior's own underdamped process noises the target, fixed: its force is H, its O steps have no control.
Forward, the same moves run on and the O steps are controlled. Their fixed pull G - H makes all forces together G, so
that training starts from annealed Langevin dynamics; where G = H it vanishes, as it must: there the noising process is
stationary and its own reversal.
"""

from ..overdamped import Drift
from ..underdamped import Kinetics, UnderdampedBridge
from .kinetic import splitting
from .parts import Ingredients

__all__ = ["underdamped_time_reversed_diffusion_sampler"]

_NOISING = Kinetics(force=Drift(0.0, 1.0), pull=Drift(1.0, -1.0))


def underdamped_time_reversed_diffusion_sampler(given: Ingredients) -> UnderdampedBridge:
    """An underdamped DIS bridge."""
    prior, annealing, motion, how = given.prior(), given.annealing(), given.motion(), splitting(given.settings)
    return UnderdampedBridge(prior, annealing, motion, _NOISING, how, given.momentum_control(), None)
