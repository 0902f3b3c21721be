"""Estimates from log weights of forward paths: ELBO, log Z, effective sample size, Pareto k-hat.

All take `(n,)` float64 log weights, -inf for paths of weight zero, and stay in log space.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .interval import log_mean_interval
from .pareto import Tail, fit_tail, k_hat_limit, tail_length

__all__ = ["Estimates", "estimate", "k_hat", "log_mean_exp", "restricted_elbo", "standard_error"]

# Width of a 95 % interval in standard errors.
_WIDTH = 2.0 * 1.959963984540054
# A log weight is a difference of sums of log densities in single precision. Their rounding errors are much alike from
# path to path: no standard error shows them.
_ROUNDING, _RELATIVE_ROUNDING = 1e-5, 2.0**-23


class Estimates(NamedTuple):
    """What n log weights say."""

    elbo: float
    """Mean of the finite log weights, and its standard error."""
    elbo_se: float
    log_z: float
    """Log of the mean weight (paths of weight zero counted)."""
    log_z_se: float
    """Its standard error: by the delta method, or the interval's width over 3.92 where that is finite and more."""
    log_z_low: float
    """95 % interval of log Z (`interval.py`)."""
    log_z_high: float | None
    """None where the tail is so heavy that no upper end can be given."""
    interval_holds: bool
    """False where k-hat is above its limit or not known, or the interval has no upper end."""
    ess_fraction: float
    """(sum w)^2 / (n sum w^2), in (0, 1]."""
    k_hat: float
    """Shape of the generalised Pareto law of the largest weights (Vehtari et al. 2024); NaN below 25 paths."""
    k_hat_limit: float
    """What it should stay below."""


def standard_error(low: float, high: float) -> float:
    """What a 95 % interval's width comes to, in standard errors of a normal law."""
    return (high - low) / _WIDTH


def log_mean_exp(log_weight: Tensor) -> Tensor:
    """Log of the mean of exp(log_weight), `(n,)` to a scalar."""
    return torch.logsumexp(log_weight, 0) - math.log(log_weight.shape[0])


def restricted_elbo(log_weight: Tensor) -> float:
    """ELBO of the proposal restricted to where its weight is positive; the mean log weight where that is everywhere.

    A bound on log Z: the restriction's density is the proposal's over its share of positive weights. -inf without any.
    """
    finite = log_weight.isfinite()
    return float(log_weight[finite].mean() + finite.double().mean().log()) if bool(finite.any()) else -math.inf


def estimate(log_weight: Tensor) -> Estimates:
    """All estimates. Raises ValueError where no log weight is finite or there are fewer than two."""
    n = log_weight.shape[0]
    finite = log_weight[log_weight.isfinite()]
    if finite.shape[0] < 2:
        raise ValueError(f"expected at least 2 paths of positive weight, got {finite.shape[0]} of {n}")
    weight, tail = (log_weight - finite.max()).exp(), fit_tail(log_weight)
    mean, log_z = weight.mean(), float(log_mean_exp(log_weight))
    shape, limit, interval = _shape(log_weight, tail), k_hat_limit(n), log_mean_interval(weight, tail)
    rounding = _ROUNDING + _RELATIVE_ROUNDING * float(finite.abs().mean())
    delta = float(weight.std() / mean) / math.sqrt(n)
    spread = standard_error(interval.low, interval.high)
    return Estimates(
        elbo=float(finite.mean()),
        elbo_se=float(finite.std()) / math.sqrt(finite.shape[0]),
        log_z=log_z,
        log_z_se=max(delta, spread if math.isfinite(spread) else 0.0) + rounding,
        log_z_low=log_z + interval.low - 2.0 * rounding,
        log_z_high=log_z + interval.high + 2.0 * rounding if math.isfinite(interval.high) else None,
        interval_holds=shape <= limit and math.isfinite(interval.high),
        ess_fraction=float(mean.square() / weight.square().mean()),
        k_hat=shape,
        k_hat_limit=limit,
    )


def k_hat(log_weight: Tensor) -> float:
    """Pareto shape of the largest weights (Zhang and Stephens 2009), with PSIS' tail and prior.

    Above `k_hat_limit` the importance estimates are not to be trusted (Vehtari et al. 2024). Equal weights have no
    tail: -inf. A few weights that dwarf all others: +inf. NaN below five in the tail.
    """
    return _shape(log_weight, fit_tail(log_weight))


def _shape(log_weight: Tensor, tail: Tail | None) -> float:
    if tail is not None:
        return tail.shape
    length = tail_length(log_weight.shape[0])
    if log_weight.shape[0] <= length or length < 5:
        return math.nan
    # Either the largest weights are all equal, or so few dwarf the rest that the others vanish beside them.
    return -math.inf if bool(log_weight.max() == log_weight.sort().values[-length - 1]) else math.inf
