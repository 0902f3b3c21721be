"""Losses of a bridge on detached paths, as coefficients of their log densities.

With W = -log w, log q = log p_0(z_0) + sum log F_n and log p = sum log B_n (samplers.md, section 2):

    reverse KL, log-derivative:    mean( sg(W - mean W) N/(N-1) log q ) - mean( log p ) + mean( log q_shared )
    log variance / 2:              mean( sg(W - mean W) N/(N-1) (log q - log p) )
    trajectory balance:            mean( (log Z + W)^2 ) / 2, log Z learned
    forward KL, backward paths:    mean( sg(mean W - W) N/(N-1) log p ) + mean( log p ) - mean( log q )
    the same, stored paths:        each path with a share r_i ~ p / p_drawn instead of 1/N
    trust region, stored paths:    mean( sg(r - mean r) N/(N-1) log q ) - t mean( log p ),  r = log q / q_i + t W_i

Each is an inner product of constants with log densities, so that sums over n can be differentiated in chunks. N/(N-1)
turns the batch mean into the leave-one-out mean. `log_q_shared` has zero expected gradient and cancels most of the
noise in parameters that both chains share (diffusion, prior, annealing).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .weigh import PathWeights

__all__ = [
    "DetachedLoss", "PathCoefficients", "forward_kl", "forward_kl_reweighted", "log_variance", "reverse_kl_controlled",
    "reverse_kl_log_derivative", "reverse_kl_reward_to_go", "trajectory_balance", "trust_region_log_variance",
]  # fmt: skip


# Below this a sum of squared weights, the largest of all being one, is no denominator.
_TINY = 1e-30


class PathCoefficients(NamedTuple):
    """d loss / d log density, constants in float64: the surrogate is their inner product with the densities.

    Those of transitions are `(batch,)`, the same for all n, or `steps x batch`.
    """

    start: Tensor
    """Of log p_0(z_0), `(batch,)`."""
    forward: Tensor
    """Of log F_n."""
    backward: Tensor
    """Of log B_n."""
    shared: Tensor
    """Of log F_n with detached control outputs."""

    def at(self, paths: slice) -> "PathCoefficients":
        """Those of some of the paths."""
        return PathCoefficients(*(part[..., paths] for part in self))


DetachedLoss = Callable[[PathWeights], PathCoefficients]
"""A loss on detached paths: coefficients for weights that are all finite, of a batch of at least 2."""


def reverse_kl_log_derivative(weights: PathWeights) -> PathCoefficients:
    """rKL-LD (Sanokowski et al. 2025) with the leave-one-out mean and the shared-parameter term."""
    advantage, share = _advantage(-weights.log_weight), _shares(weights)
    return PathCoefficients(start=advantage + share, forward=advantage, backward=-share, shared=share)


def reverse_kl_controlled(weights: PathWeights) -> PathCoefficients:
    """rKL-LD with importance weights as a control variate for the backward kernels: the default form.

    E_F[w grad log p] = Z E_B[grad log p] = 0: given x_N, the backward chain's own score has mean zero. So the gradient
    of -mean(log p) may be taken with coefficients -(1 - c w) / N for any c, and c = E[w] / E[w^2] leaves the least
    noise: none where all weights are equal, while the plain form keeps that of a maximum likelihood fit. With
    kappa = c E[w], the effective sample size, the shared term becomes (1 - kappa) / N, so that both still cancel. c and
    kappa of a path are taken from the other paths, which keeps the expectation exact.
    """
    plain = reverse_kl_log_derivative(weights)
    scaled = (weights.log_weight - weights.log_weight.max()).exp()
    others, squares = scaled.sum() - scaled, (scaled.square().sum() - scaled.square()).clamp(min=_TINY)
    ratio = others / squares
    kappa = ratio * others / (scaled.shape[0] - 1)
    return PathCoefficients(
        start=plain.forward + plain.shared * (1.0 - kappa),
        forward=plain.forward,
        backward=plain.backward * (1.0 - scaled * ratio),
        shared=plain.shared * (1.0 - kappa),
    )


def reverse_kl_reward_to_go(weights: PathWeights) -> PathCoefficients:
    """rKL-LD where log F_n is weighed by what comes from n on only: what came before has zero mean given z_n."""
    cost = -(weights.increments.flip(0).cumsum(0).flip(0) + weights.end)
    share = _shares(weights)
    start = _advantage(-weights.log_weight) + share
    return PathCoefficients(start=start, forward=_advantage(cost), backward=-share, shared=share)


def log_variance(weights: PathWeights) -> PathCoefficients:
    """Half the log variance (Richter et al. 2020), unbiased over the batch."""
    advantage = _advantage(-weights.log_weight)
    return PathCoefficients(advantage, advantage, -advantage, torch.zeros_like(advantage))


def trajectory_balance(log_z: Tensor) -> DetachedLoss:
    """Half the mean square of log Z + W (Malkin et al. 2022) at a given log Z, a constant scalar.

    The derivative in log Z itself is the sum of the coefficients of log q.
    """

    def loss(weights: PathWeights) -> PathCoefficients:
        residual = (log_z - weights.log_weight) / weights.log_weight.shape[0]
        return PathCoefficients(residual, residual, -residual, torch.zeros_like(residual))

    return loss


def forward_kl(weights: PathWeights) -> PathCoefficients:
    """KL(P || Q) for backward paths from the target, with the leave-one-out mean (`objectives/forward.py`)."""
    advantage, share = _advantage(weights.log_weight), _shares(weights)
    return PathCoefficients(-share, -share, advantage + share, torch.zeros_like(share))


def forward_kl_reweighted(weights: PathWeights, log_p_drawn: Tensor) -> PathCoefficients:
    """The same on paths of earlier backward kernels, with self-normalised importance weights (`objectives/warm.py`).

    With r_i the share of path i, log w_i minus the mean over the other paths is (log w_i - mean) / (1 - r_i).

    Args:
        weights: Of stored paths under the bridge as it is now.
        log_p_drawn: sum log B_n of the same paths when they were drawn, `(batch,)`.
    """
    share = (weights.backward.sum(0) - log_p_drawn).softmax(0)
    value = weights.log_weight
    advantage = share * (value - share @ value) / (1.0 - share).clamp(min=_TINY)
    return PathCoefficients(-share, -share, advantage + share, torch.zeros_like(share))


def trust_region_log_variance(weights: PathWeights, aim: Tensor, temper: float) -> PathCoefficients:
    """Half the variance of log q - aim, and t times the likelihood of the backward kernels (`objectives/trust.py`).

    Args:
        weights: Of stored paths under the bridge as it is now.
        aim: log q_i + t log w of the same paths when they were drawn, `(batch,)`.
        temper: t.
    """
    advantage, share = _advantage(weights.log_q - aim), _shares(weights)
    return PathCoefficients(advantage, advantage, -temper * share, torch.zeros_like(share))


def _shares(weights: PathWeights) -> Tensor:
    return torch.full_like(weights.log_weight, 1.0 / weights.log_weight.shape[0])


def _advantage(cost: Tensor) -> Tensor:
    """(cost - its leave-one-out mean over the last axis) / N: the plain difference times N/(N-1)."""
    return (cost - cost.mean(-1, keepdim=True)) / (cost.shape[-1] - 1)
