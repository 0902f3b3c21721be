"""How far an untrained Langevin bridge should move: the horizon of largest ELBO, by a line search.

The longer its dynamics run, the more they make up for what the prior lacks, and the larger is the error of an Euler
step. Where the prior is a mixture that all but fits, or where the target is narrow in places, a long horizon costs more
than it gains (on a funnel with a mixture of 32 components ELBO -2.9 at the longest horizon, -0.15 at a quarter of it),
and training would spend its first thousand steps on finding out.
"""

import math
from itertools import pairwise

import torch

from gephyra.targets.base import Target

from .bridge import Bridge
from .estimate import restricted_elbo
from .evaluate import path_noise
from .simulate import simulate
from .weigh import log_weights

__all__ = ["settle_horizon"]

# Multiples of the horizon the bridge came with; those that are left once the ELBO falls are not tried.
_FACTORS = (1.0, 0.5, 0.25, 0.125)


@torch.no_grad()
def settle_horizon(bridge: Bridge, target: Target, seed: int, paths: int) -> None:
    """Shorten the horizon of an untrained bridge, in place, where that raises its ELBO.

    Args:
        bridge: Any bridge; one that has no horizon of its own stays as it is.
        target: The target in the bridge's coordinates.
        seed: Seed of the noise, the same for every horizon.
        paths: Paths for each.
    """
    if bridge.horizon is None:
        return
    noise = path_noise(bridge, "horizon", seed, 0, paths)
    best = restricted_elbo(log_weights(bridge, simulate(bridge, target, noise)))
    for longer, shorter in pairwise(_FACTORS):
        bridge.horizon.add_(math.log(shorter / longer))
        elbo = restricted_elbo(log_weights(bridge, simulate(bridge, target, noise)))
        if not elbo > best:
            bridge.horizon.sub_(math.log(shorter / longer))
            return
        best = elbo
