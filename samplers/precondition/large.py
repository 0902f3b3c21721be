"""Gaussian variational inference in many dimensions, where estimating a full covariance from points is hopeless.

The precision is that of Laplace's approximation at the mode, P_0 = -Hessian, plus a diagonal. Both conditions of an
optimum, E[score] = 0 and E[-Hessian] = P, are then solved by damped fixed-point steps, the second one on its diagonal
only. The diagonal of E[Hessian + P_0] comes from differences of scores along random signs z, mean(z (Hessian + P_0) z)
(Bekas, Kokiopoulou and Saad 2007), which has no noise at all where what changes with x is diagonal: as in a model
whose likelihood is a product over coordinates under a Gaussian prior with any covariance.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..random import keyed_generator, normal_noise
from .curvature import hessian
from .evaluation import evaluate

__all__ = ["large_fit"]

_PAIRS = 64
_STEPS = 12
_FULL_STEPS = 4
_DIFFERENCE = 1e-3


class _State(NamedTuple):
    mean: Tensor
    extra: Tensor
    tril: Tensor


def large_fit(target: Target, mode: Tensor, seed: int, spent: Callable[[], float]) -> tuple[Tensor, Tensor] | None:
    """Mean `(dim,)` and factor `dim x dim` of the Gaussian, from the mode; None where the mode is no Gaussian's peak.

    Args:
        target: The density.
        mode: Where the log density has a maximum, `(dim,)`, float64.
        seed: Seed of the noise.
        spent: Asked before every step; at 1 or more the Gaussian stays what it got to be.
    """
    if spent() >= 1.0:
        return None
    base = -hessian(target, mode)
    state = _state(mode, torch.zeros_like(mode), base)
    if state is None:
        return None
    for step in range(_STEPS):
        if spent() >= 1.0:
            break
        rate = min(1.0, _FULL_STEPS / (step + 1.0)) if step else 0.5
        score, extra = _expectations(target, state, base, seed, step)
        following = _state(state.mean, (1.0 - rate) * state.extra + rate * extra, base)
        # The largest precision that the other terms allow to be subtracted is not known: half a step may be fine.
        if following is None:
            following = _state(state.mean, state.extra + 0.5 * rate * (extra - state.extra).clamp(min=0.0), base)
        if following is None:
            break
        state = following._replace(mean=state.mean + rate * following.tril @ (following.tril.T @ score))
    return state.mean, state.tril


def _state(mean: Tensor, extra: Tensor, base: Tensor) -> _State | None:
    precision = torch.linalg.cholesky_ex(base + torch.diag(extra))
    if bool(precision.info) or not bool(precision.L.isfinite().all()):
        return None
    covariance = torch.linalg.cholesky_ex(torch.cholesky_inverse(precision.L))
    return None if bool(covariance.info) else _State(mean, extra, covariance.L)


def _expectations(target: Target, state: _State, base: Tensor, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """E[score], and the diagonal of -E[Hessian] - P_0, each `(dim,)`."""
    dim = len(state.mean)
    half = normal_noise((_PAIRS, dim), "precondition/large", seed, step).double()
    points = state.mean + torch.cat([half, -half]) @ state.tril.T
    signs = torch.from_numpy(keyed_generator("precondition/large/signs", seed, step).integers(0, 2, points.shape))
    move = (2.0 * signs - 1.0) * _DIFFERENCE * (1.0 + state.mean.abs())
    forward, backward = evaluate(target, points + move), evaluate(target, points - move)
    finite = (forward.log_density.isfinite() & backward.log_density.isfinite())[:, None]
    change = torch.where(finite, 0.5 * (backward.score - forward.score) - move @ base, 0.0)
    # The mean of both scores is the score up to third derivatives times the squared difference.
    score = torch.where(finite, 0.5 * (forward.score + backward.score), 0.0).mean(0)
    return score, (change / move).mean(0)
