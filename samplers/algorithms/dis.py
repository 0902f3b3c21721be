"""Time-reversed diffusion sampler (Berner, Richter and Ullrich 2024).

Backward, the prior's Ornstein-Uhlenbeck process noises the target, fixed; forward, its reversal is learned. The control
starts as the annealed score: exact where the marginals are the annealed ones.
"""

from ..overdamped import Drift, Dynamics, OverdampedBridge
from ..reference import EulerMaruyama
from .parts import Ingredients

__all__ = ["time_reversed_diffusion_sampler"]

_NOISING = Dynamics(EulerMaruyama(), forward=Drift(0.0, -0.5), backward=Drift(0.0, 0.5))


def time_reversed_diffusion_sampler(given: Ingredients) -> OverdampedBridge:
    """A DIS bridge."""
    prior, annealing, diffusion = given.prior(), given.annealing(), given.diffusion()
    return OverdampedBridge(prior, annealing, diffusion, _NOISING, given.control(gate=1.0), None)
