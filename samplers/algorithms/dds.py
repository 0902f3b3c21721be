"""Denoising diffusion sampler (Vargas, Grathwohl and Doucet 2023): exact Ornstein-Uhlenbeck steps.

Backward, the prior's own process noises the target, fixed; forward, a control is added to it. The fixed pull -H and a
control that starts as the annealed score make the first guess s^2 (G - H), the reversal to first order in the step.
"""

from ..overdamped import Drift, Dynamics, OverdampedBridge
from ..reference import OrnsteinUhlenbeck
from .parts import Ingredients

__all__ = ["denoising_diffusion_sampler"]

_NOISING = Dynamics(OrnsteinUhlenbeck(), forward=Drift(0.0, -1.0), backward=Drift(0.0, 0.0))


def denoising_diffusion_sampler(given: Ingredients) -> OverdampedBridge:
    """A DDS bridge."""
    prior, annealing, diffusion = given.prior(), given.annealing(), given.diffusion()
    return OverdampedBridge(prior, annealing, diffusion, _NOISING, given.control(gate=1.0), None)
