"""Evaluate a bridge on fresh paths, block by block: the weights, and what a report needs of the end points.

Block b of a stream is a pure function of (bridge, stream name, seed, b). Blocks are always evaluated whole: a row
computed alone differs in its last bits from the same row in a batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .bridge import Bridge
from .components import Components
from .estimate import log_mean_exp
from .modes import nearest_mode
from .random import keyed_generator, normal_noise
from .resampling import systematic
from .simulate import simulate_noting
from .weigh import log_weights

__all__ = ["BLOCK_SIZE", "Fresh", "Pool", "block", "path_noise", "simulate_fresh"]

BLOCK_SIZE = 512
"""Paths that are always evaluated together: fewer draw slower, more make small requests wait (benchmarks/blocks.py)."""


class Pool(NamedTuple):
    """Draws of the target as far as the weights tell: end points resampled within each block."""

    u: Tensor
    """`count x dim`."""
    log_weight: Tensor
    """The log mean weight of each draw's block, `(count,)` float64."""
    ancestor: Tensor
    """The path that it is the end of, `(count,)`; copies of one path are no independent draws."""


class Fresh(NamedTuple):
    """What n fresh paths left."""

    log_weight: Tensor
    """`(n,)` float64."""
    mode: Tensor | None
    """The mixture component that the end point is nearest to, `(n,)`; None without components."""
    pool: Pool


def path_noise(bridge: Bridge, stream: str, seed: int, index: int, size: int) -> Tensor:
    """The noise behind the paths of a block."""
    like = next(bridge.parameters())
    return normal_noise((bridge.noise_rows, size, bridge.dim), stream, seed, index).to(like)


@torch.no_grad()
def block(bridge: Bridge, target: Target, stream: str, seed: int, index: int, size: int) -> tuple[Tensor, Tensor]:
    """End points `size x dim` and log weights `(size,)` of block `index`."""
    path = simulate_noting(bridge, target, path_noise(bridge, stream, seed, index, size))
    return path.state[-1, :, : bridge.dim], log_weights(bridge, path)


def simulate_fresh(
    bridge: Bridge,
    target: Target,
    components: Components | None,
    stream: str,
    seed: int,
    paths: int,
    pooled: int,
    on_block: Callable[[], None] = lambda: None,
) -> Fresh:
    """The first `paths` paths of a stream, about `pooled` of their end points in proportion to their weights."""
    weights, modes, pools = [], [], []
    for index, first in enumerate(range(0, paths, BLOCK_SIZE)):
        rows = min(BLOCK_SIZE, paths - first)
        u, log_weight = (part[:rows].cpu() for part in block(bridge, target, stream, seed, index, BLOCK_SIZE))
        weights.append(log_weight)
        if components is not None:
            modes.append(nearest_mode(u, components))
        generator = keyed_generator(f"{stream}/pool", seed, index)
        chosen = systematic(log_weight, -(-rows * pooled // paths), generator)
        level = log_mean_exp(log_weight).expand(chosen.shape[0])
        pools.append(Pool(u[chosen], level, first + chosen))
        on_block()
    pool = Pool(*(torch.cat(parts) for parts in zip(*pools, strict=True)))
    return Fresh(torch.cat(weights), torch.cat(modes) if modes else None, pool)
