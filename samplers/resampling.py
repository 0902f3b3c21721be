"""Resampling: equal weights for unequal numbers of copies."""

import math

import numpy as np
import torch
from torch import Tensor

from .estimate import log_mean_exp

__all__ = ["ess_fraction", "systematic"]


def ess_fraction(log_weight: Tensor) -> float:
    """(sum w)^2 / (n sum w^2) of log weights `(n,)`; 0 where all weights are zero."""
    twice = 2.0 * torch.logsumexp(log_weight, 0) - torch.logsumexp(2.0 * log_weight, 0)
    return 0.0 if bool(twice.isnan()) else math.exp(float(twice)) / log_weight.shape[0]


def systematic(log_weight: Tensor, count: int, generator: np.random.Generator) -> Tensor:
    """Indices of `count` draws in proportion to the weights, in random order; `(count,)`.

    Index i occurs floor or ceil of count w_i / sum w times, in expectation exactly that often. The random order gives
    every place the same law, so that any part of the draws is as good as another. Where no weight is positive the
    indices are taken in turn.
    """
    n = log_weight.shape[0]
    if not bool((log_weight > -torch.inf).any()):
        return torch.arange(count, device=log_weight.device) % n
    cumulative = (log_weight - log_mean_exp(log_weight)).exp().cpu().numpy().cumsum()
    points = (np.arange(count) + generator.random()) * (cumulative[-1] / count)
    chosen = np.searchsorted(cumulative, points, side="right").clip(max=n - 1)
    return torch.from_numpy(generator.permutation(chosen)).to(log_weight.device)
