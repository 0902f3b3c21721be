"""Estimates from log weights of forward paths: ELBO, log Z, effective sample size, Pareto k-hat.

All take `(n,)` float64 log weights, -inf for paths of weight zero, and stay in log space.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Estimates", "estimate", "k_hat", "log_mean_exp"]


_LEAST_TAIL = 5


class Estimates(NamedTuple):
    """What n log weights say."""

    elbo: float
    """Mean of the finite log weights, and its standard error."""
    elbo_se: float
    log_z: float
    """Log of the mean weight (paths of weight zero counted), and its delta-method standard error."""
    log_z_se: float
    ess_fraction: float
    """(sum w)^2 / (n sum w^2), in (0, 1]."""
    k_hat: float
    """Shape of the generalised Pareto law of the largest weights (Vehtari et al. 2024); NaN below 25 paths."""


def log_mean_exp(log_weight: Tensor) -> Tensor:
    """Log of the mean of exp(log_weight), `(n,)` to a scalar."""
    return torch.logsumexp(log_weight, 0) - math.log(log_weight.shape[0])


def estimate(log_weight: Tensor) -> Estimates:
    """All estimates. Raises ValueError where no log weight is finite or there are fewer than two."""
    n = log_weight.shape[0]
    finite = log_weight[log_weight.isfinite()]
    if finite.shape[0] < 2:
        raise ValueError(f"expected at least 2 paths of positive weight, got {finite.shape[0]} of {n}")
    weight = (log_weight - finite.max()).exp()
    mean = weight.mean()
    return Estimates(
        elbo=float(finite.mean()),
        elbo_se=float(finite.std()) / math.sqrt(finite.shape[0]),
        log_z=float(log_mean_exp(log_weight)),
        log_z_se=float(weight.std() / mean) / math.sqrt(n),
        ess_fraction=float(mean.square() / weight.square().mean()),
        k_hat=k_hat(log_weight),
    )


def k_hat(log_weight: Tensor) -> float:
    """Pareto shape of the largest weights by the estimator of Zhang and Stephens (2009), with PSIS' tail and prior.

    The tail holds min(n / 5, 3 sqrt(n)) weights. Above 0.7 the importance estimates are not to be trusted (Vehtari et
    al. 2024). Equal weights have no tail: -inf. A few weights that dwarf all others: +inf. NaN below five in the tail.
    """
    n = log_weight.shape[0]
    tail_length = math.ceil(min(0.2 * n, 3.0 * math.sqrt(n)))
    if tail_length < _LEAST_TAIL:
        return math.nan
    ordered = log_weight.sort().values
    cutoff = torch.clamp(ordered[-tail_length - 1] - ordered[-1], min=math.log(torch.finfo(torch.float64).tiny))
    excess = (ordered - ordered[-1]).exp() - cutoff.exp()
    excess = excess[-tail_length:][excess[-tail_length:] > 0]
    if excess.shape[0] < _LEAST_TAIL:
        # Either the largest weights are all equal, or so few dwarf the rest that the others vanish beside them.
        return -math.inf if bool(ordered[-1] == ordered[-tail_length - 1]) else math.inf
    return _pareto_shape(excess)


def _pareto_shape(excess: Tensor) -> float:
    """Posterior mean shape for increasing positive excesses, shrunk towards 1/2 by ten pseudo-observations."""
    n = excess.shape[0]
    grid = 30 + int(math.sqrt(n))
    quartile = excess[int(n / 4 + 0.5) - 1]
    points = torch.arange(1, grid + 1, dtype=torch.float64)
    theta = (1.0 - (grid / (points - 0.5)).sqrt()) / (3.0 * quartile) + 1.0 / excess[-1]
    shape = torch.log1p(-theta[:, None] * excess).mean(1)
    profile = n * ((-theta / shape).log() - shape - 1.0)
    theta_mean = (theta * profile.softmax(0)).sum()
    k = float(torch.log1p(-theta_mean * excess).mean())
    return (n * k + 10 * 0.5) / (n + 10)
