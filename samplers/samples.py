"""Draws of the target for losses that learn from draws: exact ones, or resampled ones of an earlier sampler."""

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .bridge import Bridge
from .evaluate import BLOCK_SIZE, block
from .objectives.inputs import Draw
from .random import torch_generator

__all__ = ["drawing", "pooled", "resampled"]

_BLOCKS = 8


def drawing(target: Target, pool: Tensor | None) -> Draw | None:
    """How to draw from a target: exactly where it can, else from `pool`, `count x dim`, with replacement."""
    if target.sample(1, torch_generator("samples/probe", 0)) is not None:

        def exact(count: int, generator: torch.Generator) -> Tensor:
            found = target.sample(count, generator)
            if found is None:
                raise ValueError(f"{type(target).__name__}.sample gave draws before, and none now")
            return found

        return exact
    return None if pool is None else pooled(pool)


def pooled(pool: Tensor) -> Draw:
    """How to draw rows of `pool`, `count x dim`, with replacement."""
    return lambda count, generator: pool[torch.randint(pool.shape[0], (count,), generator=generator)]


def resampled(bridge: Bridge, target: Target, seed: int) -> Tensor:
    """Draws of a bridge resampled by their weights, `count x dim`: of the target's law as far as the weights are even.

    Raises ValueError where no draw has a finite weight.
    """
    blocks = [block(bridge, target, "samples", seed, index, BLOCK_SIZE) for index in range(_BLOCKS)]
    x, log_weight = (torch.cat(parts).cpu() for parts in zip(*blocks, strict=True))
    if not bool(log_weight.isfinite().any()):
        raise ValueError("no draw of the earlier sampler has a finite weight: nothing to resample")
    generator = torch_generator("samples/resample", seed)
    return x[torch.multinomial(log_weight.softmax(0), x.shape[0], replacement=True, generator=generator)]
