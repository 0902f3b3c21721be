"""Losses of a bridge, and their exact gradient estimators on simulated paths.

With W = -log w, log q = log p_0(x_0) + sum log F_n and log p = sum log B_n (samplers.md, section 2):

    reverse KL, log-derivative:    mean( sg(W - mean W) N/(N-1) log q ) - mean( log p ) + mean( log q_shared )
    log variance / 2:              mean( sg(W - mean W) N/(N-1) (log q - log p) )
    reverse KL, reparametrised:    mean( W ) on paths that carry gradients

The first two take detached paths, so each is two coefficients a path; sums over n with constant coefficients can be
differentiated in chunks. N/(N-1) turns the batch mean into the leave-one-out mean. `log_q_shared` has zero expected
gradient and cancels most of the noise in parameters that both chains share (diffusion, prior, annealing).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "DetachedLoss", "PathCoefficients", "log_variance", "reverse_kl_log_derivative", "reverse_kl_reparametrised",
]  # fmt: skip


class PathCoefficients(NamedTuple):
    """d loss / d log density of each path, constants: the surrogate is their inner product with the densities."""

    forward: Tensor
    """Of log q, `(batch,)`."""
    backward: Tensor
    """Of log p, `(batch,)`."""
    shared: Tensor
    """Of log q with detached control outputs, `(batch,)`."""


DetachedLoss = Callable[[Tensor], PathCoefficients]
"""A loss on detached paths: coefficients for finite log weights `(batch,)`, float64, batch at least 2."""


def reverse_kl_log_derivative(log_weight: Tensor) -> PathCoefficients:
    """rKL-LD (Sanokowski et al. 2025) with the leave-one-out mean and the shared-parameter term."""
    ones = torch.full_like(log_weight, 1.0 / log_weight.shape[0])
    return PathCoefficients(forward=_advantage(log_weight), backward=-ones, shared=ones)


def log_variance(log_weight: Tensor) -> PathCoefficients:
    """Half the log variance (Richter et al. 2020), unbiased over the batch."""
    advantage = _advantage(log_weight)
    return PathCoefficients(forward=advantage, backward=-advantage, shared=torch.zeros_like(advantage))


def reverse_kl_reparametrised(log_weight: Tensor) -> Tensor:
    """-ELBO as a scalar; the log weights must be differentiable through the simulation."""
    return -log_weight.mean()


def _advantage(log_weight: Tensor) -> Tensor:
    """(W - leave-one-out mean of W) / N: the leave-one-out difference is the plain one times N/(N-1)."""
    cost = -log_weight
    return (cost - cost.mean()) / (log_weight.shape[0] - 1)
