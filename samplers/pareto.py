"""The tail of importance weights: a generalised Pareto law for the largest ones (Vehtari et al. 2024).

The tail of n weights w holds the M = min(n / 5, 3 sqrt(n)) largest; what they exceed the next one, u, by has the law
1 - (1 + k x / sigma)^(-1 / k). Following Zhang and Stephens (2009), -theta = k / sigma gets a grid of values and each a
posterior probability, with k(theta) = mean log(1 - theta x) the shape that fits best.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Tail", "fit_tail", "k_hat_limit", "tail_length"]

_LEAST_TAIL = 5
_PRACTICAL_LIMIT = 0.7
# PSIS' weakly informative prior: ten pseudo-observations of shape 1/2.
_PRIOR_SHAPE, _PRIOR_COUNT = 0.5, 10


class Tail(NamedTuple):
    """What the largest weights say, in units of the largest one."""

    cutoff: float
    """u."""
    excess: Tensor
    """The positive excesses over u, increasing, `(m,)`."""
    shapes: Tensor
    """k on the grid, `(grid,)`."""
    scales: Tensor
    """sigma there."""
    probabilities: Tensor
    """Their posterior probabilities; they add up to one."""
    shape: float
    """The posterior mean shape with PSIS' prior: k-hat."""

    def mean_excess(self) -> Tensor:
        """sigma / (1 - k) on the grid, `(grid,)`; inf where k is at least one."""
        return torch.where(self.shapes < 1.0, self.scales / (1.0 - self.shapes), torch.inf)


def k_hat_limit(count: int) -> float:
    """Above this k-hat the estimates from `count` weights are not to be trusted: min(1 - 1 / log10(count), 0.7)."""
    return min(1.0 - 1.0 / math.log10(max(count, 11)), _PRACTICAL_LIMIT)


def tail_length(count: int) -> int:
    """How many of `count` weights are the tail."""
    return math.ceil(min(0.2 * count, 3.0 * math.sqrt(count)))


def fit_tail(log_weight: Tensor) -> Tail | None:
    """The tail of log weights `(n,)`; None below five positive excesses."""
    length = tail_length(log_weight.shape[0])
    if length < _LEAST_TAIL:
        return None
    ordered = log_weight.sort().values
    cutoff = torch.clamp(ordered[-length - 1] - ordered[-1], min=math.log(torch.finfo(torch.float64).tiny)).exp()
    excess = (ordered[-length:] - ordered[-1]).exp() - cutoff
    excess = excess[excess > 0]
    return None if excess.shape[0] < _LEAST_TAIL else _posterior(float(cutoff), excess)


def _posterior(cutoff: float, excess: Tensor) -> Tail:
    n = excess.shape[0]
    grid = 30 + int(math.sqrt(n))
    quartile = excess[int(n / 4 + 0.5) - 1]
    points = torch.arange(1, grid + 1, dtype=torch.float64)
    theta = (1.0 - (grid / (points - 0.5)).sqrt()) / (3.0 * quartile) + 1.0 / excess[-1]
    shapes = torch.log1p(-theta[:, None] * excess).mean(1)
    probabilities = (n * ((-theta / shapes).log() - shapes - 1.0)).softmax(0)
    mean = float(torch.log1p(-(theta @ probabilities) * excess).mean())
    shape = (n * mean + _PRIOR_COUNT * _PRIOR_SHAPE) / (n + _PRIOR_COUNT)
    return Tail(cutoff, excess, shapes, -shapes / theta, probabilities, shape)
