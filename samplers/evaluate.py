"""Evaluate a bridge on fresh paths, block by block: the numbers of a report, and the draws.

Block b of a stream is a pure function of (bridge, stream name, seed, b). Blocks are always evaluated whole: a row
computed alone differs in its last bits from the same row in a batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .bridge import Bridge
from .estimate import Estimates, estimate
from .random import normal_noise, torch_generator
from .simulate import simulate, simulate_backward
from .weigh import log_weights

__all__ = ["BLOCK_SIZE", "EUBO_PATHS", "EuboEstimate", "block", "estimate_eubo", "estimate_fresh"]

BLOCK_SIZE = 512
"""Paths that are always evaluated together: fewer draw slower, more make small requests wait (benchmarks/blocks.py)."""
EUBO_PATHS = 4096
"""Exact draws behind an EUBO, at most."""


class EuboEstimate(NamedTuple):
    """Mean log weight of backward paths from exact draws, and its standard error; None without exact draws."""

    eubo: float | None
    eubo_se: float | None


@torch.no_grad()
def block(bridge: Bridge, target: Target, stream: str, seed: int, index: int, size: int) -> tuple[Tensor, Tensor]:
    """End points `size x dim` and log weights `(size,)` of block `index`."""
    like = next(bridge.parameters())
    noise = normal_noise((bridge.noise_rows, size, bridge.dim), stream, seed, index).to(like)
    path = simulate(bridge, target, noise)
    return path.state[-1, :, : bridge.dim], log_weights(bridge, path)


def estimate_fresh(
    bridge: Bridge,
    target: Target,
    stream: str,
    seed: int,
    paths: int,
    on_block: Callable[[float], None] = lambda fraction: None,
) -> tuple[Estimates, int]:
    """Estimates on the first `paths` paths of a stream, and how many of them were not finite.

    Raises ValueError where fewer than two paths had positive weight.
    """
    blocks = -(-paths // BLOCK_SIZE)
    parts = []
    for index in range(blocks):
        parts.append(block(bridge, target, stream, seed, index, BLOCK_SIZE)[1].cpu())
        on_block((index + 1) / blocks)
    log_weight = torch.cat(parts)[:paths]
    return estimate(log_weight), int(log_weight.isinf().sum())


@torch.no_grad()
def estimate_eubo(bridge: Bridge, target: Target, seed: int, paths: int) -> EuboEstimate:
    """EUBO from exact draws of the target, where it has an exact sampler."""
    end = target.sample(paths, torch_generator("eubo/draws", seed))
    if end is None:
        return EuboEstimate(None, None)
    like = next(bridge.parameters())
    rows = 1 + bridge.steps * bridge.step_rows
    noise = normal_noise((rows, paths, bridge.dim), "eubo", seed, 0).to(like)
    log_weight = log_weights(bridge, simulate_backward(bridge, target, end.to(like), noise))
    return EuboEstimate(float(log_weight.mean()), float(log_weight.std()) / paths**0.5)
