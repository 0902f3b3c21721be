"""One block of draws, as it was asked for.

Whatever is asked for, the draws (u_i, w_i) of a block of N satisfy E[ mean_i w_i f(u_i) ] = Z E_target[ f ]: resampled
draws and those of an independence chain carry the block's mean weight, and Metropolis steps leave weights alone.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .bridge import Bridge
from .draws import Draws
from .estimate import log_mean_exp
from .evaluate import block, path_noise
from .polish import Langevin, independence_chain
from .random import keyed_generator
from .resampling import systematic
from .smc import resampled_paths

__all__ = ["Drawn", "draw_block"]

_STREAM = "draw"


class Drawn(NamedTuple):
    """The draws of a block, and the path ends that they were made of."""

    u: Tensor
    """`size x dim`."""
    log_weight: Tensor
    """`(size,)` float64."""
    raw_u: Tensor
    """The same before resampling and polish."""
    raw_log_weight: Tensor
    imh_acceptance: float | None
    """None where there were no such proposals."""
    mala_acceptance: float | None


@torch.no_grad()
def draw_block(
    bridge: Bridge, target: Target, how: Draws, langevin: Langevin | None, seed: int, index: int, size: int
) -> Drawn:
    """Block `index` of a seed. `langevin` makes the Langevin steps, where the polish has them."""
    raw_u, raw_log_weight = _ends(bridge, target, how, seed, index, size)
    u, log_weight, imh, mala = raw_u, raw_log_weight, None, None
    chosen: Tensor | None = None
    if how.polish.independence:
        chosen, imh = independence_chain(raw_log_weight, keyed_generator(f"{_STREAM}/imh", seed, index))
    elif how.resample:
        chosen = systematic(raw_log_weight, size, keyed_generator(f"{_STREAM}/resample", seed, index))
    if chosen is not None:
        u, log_weight = raw_u[chosen], log_mean_exp(raw_log_weight).expand(size).clone()
    if langevin is not None and how.polish.langevin:
        u, mala = langevin.move_block(target, u, how.polish_steps, f"{_STREAM}/mala", seed, index)
    return Drawn(u, log_weight, raw_u, raw_log_weight, imh, mala)


def _ends(bridge: Bridge, target: Target, how: Draws, seed: int, index: int, size: int) -> tuple[Tensor, Tensor]:
    """Path ends and their log weights."""
    if not how.smc:
        return block(bridge, target, _STREAM, seed, index, size)
    noise = path_noise(bridge, _STREAM, seed, index, size)
    particles = resampled_paths(bridge, target, noise, keyed_generator(f"{_STREAM}/smc", seed, index))
    return particles.state[:, : bridge.dim], particles.log_weight
