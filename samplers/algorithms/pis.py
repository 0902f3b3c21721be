"""Path integral sampler (Zhang and Chen 2022): Brownian motion from a point, steered.

The backward kernels are those of the Brownian bridge to that point. The first step has no backward kernel (the start is
certain), so it is the prior of our grid: its mean is the control there, its variance the time it takes.
"""

import math

from ..overdamped import Drift, Dynamics, OverdampedBridge
from ..prior import DiagonalPrior
from ..reference import BrownianBridge
from .parts import Ingredients

__all__ = ["path_integral_sampler"]

_STEERED = Dynamics(BrownianBridge(), forward=Drift(0.0, 0.0), backward=Drift(0.0, 0.0), from_prior=False)
# Brownian motion that ends with the target's scale, which preconditioning makes about one.
_SIGMA = 1.0


def path_integral_sampler(given: Ingredients) -> OverdampedBridge:
    """A PIS bridge; it starts at a point, so a mixture prior is of no use to it."""
    first = _SIGMA / math.sqrt(given.settings.steps + 1)
    prior = DiagonalPrior(given.dim, first, learned=given.settings.learn.prior)
    diffusion = given.diffusion(_SIGMA)
    return OverdampedBridge(prior, given.annealing(), diffusion, _STEERED, given.control(gate=1.0), None)
