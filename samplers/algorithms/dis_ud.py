"""Underdamped time-reversed diffusion sampler.

Backward, the prior's own underdamped process noises the target, fixed: its force is H, its O steps have no control.
Forward, the same moves run on and the O steps are controlled. Fixed pull and initial control are -H and the annealed
score, so that all forces together start as G: annealed Langevin dynamics, and no control where G = H, where the noising
process is stationary and its own reversal. (Twice as much, which the overdamped limit suggests, starts and trains
worse: `motion` leaves a friction of about two, far from that limit.)
"""

from ..overdamped import Drift
from ..underdamped import Kinetics, UnderdampedBridge
from .kinetic import splitting
from .parts import Ingredients

__all__ = ["underdamped_time_reversed_diffusion_sampler"]

_NOISING = Kinetics(force=Drift(0.0, 1.0), pull=Drift(0.0, -1.0))


def underdamped_time_reversed_diffusion_sampler(given: Ingredients) -> UnderdampedBridge:
    """An underdamped DIS bridge."""
    prior, annealing, motion, how = given.prior(), given.annealing(), given.motion(), splitting(given.settings)
    return UnderdampedBridge(prior, annealing, motion, _NOISING, how, given.momentum_control(gate=1.0), None)
