"""Gaussian variational inference by natural-gradient (Newton) steps, for several Gaussians at once.

The Gaussian N(m, L L^T) that maximises the ELBO solves E[score] = 0 and E[-Hessian] = (L L^T)^-1. In the whitened
frame x = m + L e, with g = L^T score(x) + e (the path gradient of Roeder et al. 2017), Stein's lemma gives the
whitened precision without Hessians: E[-L^T Hessian L] = I - E[g e^T]. So one step is

    A = I - rate sym(mean g e^T),    m <- m + rate L A^-1 mean(g),    L <- L chol(A^-1)

(variational online Newton: Khan and Rue 2023). For a component of a mixture q the same holds with g = L^T (score(x) -
score of q), and its log weight moves by rate E[log gamma - log q] (Lin, Khan and Schmidt 2019). g vanishes on a
Gaussian target, so the noise of a step comes from what is not Gaussian about it only. The rate falls as 1/n, which
averages that noise away. Points come in pairs +-e, and the pairs' second moments are made exact, so that on a Gaussian
target a step of rate 1 lands on it.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..components import MOST_COMPONENTS, Components, Mixture
from ..random import normal_noise
from .evaluation import evaluate

__all__ = ["newton_fit", "newton_fit_across", "newton_fit_mixture"]

_LEAST_PAIRS = 32
_RATE = 0.5
# Steps at full rate; after them the rate is this number over the number of steps.
_FULL_RATE_STEPS = 10
_STEPS_ALONE, _STEPS_TOGETHER = 200, 60
# The components of a mixture feel each other: smaller steps, for longer.
_MIXTURE_RATE, _MIXTURE_FULL_RATE_STEPS, _MIXTURE_STEPS = 0.3, 20, 100
# Across an axis: a start is near already, and is judged afterwards.
_ACROSS_RATES = (0.5,) * 4 + (0.3,) * 4
# A component whose weight falls below this may come back, and costs nothing.
_LEAST_LOG_WEIGHT = -12.0
# Nats below the point that is lacking most.
_LEAST_LOG_RATIO = -50.0
# A precision is not believed to be more than this many times another than the last one.
_SHRINK, _GROWTH = 0.25, 10.0
# A whitened gradient longer than this many standard deviations says only where to go, not how far.
_GRADIENT_CLIP = 10.0
# Nats that a step can still gain.
_CONVERGED = 1e-5


def newton_fit(
    target: Target, mean: Tensor, tril: Tensor, seed: int, spent: Callable[[], float] = lambda: 0.0
) -> tuple[Tensor, Tensor]:
    """Gaussians that maximise the ELBO locally, from starts.

    Args:
        target: The density.
        mean: Starts `K x dim`, float64.
        tril: Their factors, `K x dim x dim`.
        seed: Seed of the noise.
        spent: Asked before every step; at 1 or more the Gaussians stay where they got to.

    Returns:
        Means and factors of the same shapes, in the same order.
    """
    mean, tril = mean.clone(), tril.clone()
    # A few starts are worth following to the end; many are local fits, close to their optimum from the beginning.
    steps = _STEPS_ALONE if len(mean) <= 4 else _STEPS_TOGETHER
    active = torch.arange(len(mean))
    for step in range(steps):
        if not len(active) or spent() >= 1.0:
            break
        rate = min(_RATE, _FULL_RATE_STEPS / (step + 1.0))
        noise = _paired_noise(mean.shape[1], seed, step)
        shift, curvature = _whitened_gradient(target, mean[active], tril[active], noise)
        gain = 0.5 * shift.square().sum(1) + 0.25 * curvature.square().sum((1, 2))
        mean[active], tril[active] = _moved(mean[active], tril[active], shift, curvature, rate)
        active = active[gain > _CONVERGED]
    return mean, tril


def newton_fit_across(target: Target, mean: Tensor, tril: Tensor, axis: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Gaussians that fit the target across an axis each, along which they stay where and as wide as they are.

    Args:
        target: The density.
        mean: Starts `K x dim`, float64.
        tril: Their factors, `K x dim x dim`.
        axis: `K x dim`, none of them zero.
        seed: Seed of the noise.

    Returns:
        Means and factors of the same shapes.
    """
    identity = torch.eye(mean.shape[1], dtype=torch.float64)
    for step, rate in enumerate(_ACROSS_RATES):
        along = torch.linalg.solve_triangular(tril, axis[:, :, None], upper=False)
        along = along / along.norm(dim=1, keepdim=True)
        across = identity - along @ along.mT
        noise = _paired_noise(mean.shape[1], seed, step)
        shift, curvature = _whitened_gradient(target, mean, tril, noise)
        shift, curvature = (across @ shift[:, :, None])[:, :, 0], across @ curvature @ across
        mean, tril = _moved(mean, tril, shift, curvature, rate)
    return mean, tril


def newton_fit_mixture(
    target: Target, components: Components, seed: int, spent: Callable[[], float] = lambda: 0.0
) -> Components:
    """A mixture that locally maximises the ELBO, all components together, from a start with full factors.

    Args:
        target: The density.
        components: The start.
        seed: Seed of the noise.
        spent: Asked before every step; at 1 or more the mixture stays what it got to be.
    """
    log_weight, mean, tril = components
    count, dim = mean.shape
    for step in range(_MIXTURE_STEPS):
        if spent() >= 1.0:
            break
        rate = _MIXTURE_RATE * min(1.0, _MIXTURE_FULL_RATE_STEPS / (step + 1.0))
        noise = torch.stack([_paired_noise(dim, seed, step, component) for component in range(count)])
        points = mean[:, None] + noise @ tril.mT
        at = evaluate(target, points.flatten(0, 1))
        log_own, own_score = Mixture(Components(log_weight, mean, tril)).log_density_and_score(points.flatten(0, 1))
        finite = at.log_density.isfinite()
        difference = torch.where(finite[:, None], at.score - own_score, 0.0).reshape(points.shape)
        shift, curvature = _means(difference @ tril, noise)
        mean, tril = _moved(mean, tril, shift, curvature, rate)
        # Where the target vanishes, only so much is held against a component in one step.
        log_ratio = torch.where(finite, at.log_density - log_own, -torch.inf).reshape(count, -1)
        log_ratio = (log_ratio - log_ratio.max()).nan_to_num(0.0).clamp(min=_LEAST_LOG_RATIO)
        log_weight = (log_weight + rate * log_ratio.mean(1)).log_softmax(0).clamp(min=_LEAST_LOG_WEIGHT).log_softmax(0)
    return Components(log_weight, mean, tril)


def _paired_noise(dim: int, seed: int, step: int, component: int = 0) -> Tensor:
    """Standard normal points, each with its mirror image, of second moment exactly I."""
    counter = step * MOST_COMPONENTS + component
    noise = normal_noise((max(_LEAST_PAIRS, dim), dim), "precondition/newton", seed, counter).double()
    factor = torch.linalg.cholesky(noise.T @ noise / len(noise))
    noise = torch.linalg.solve_triangular(factor, noise.T, upper=False).T
    return torch.cat([noise, -noise])


def _whitened_gradient(target: Target, mean: Tensor, tril: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Means of g, `K x dim`, and of sym(g e^T), `K x dim x dim`."""
    points = mean[:, None] + noise @ tril.mT
    at = evaluate(target, points.flatten(0, 1))
    path = at.score.reshape(points.shape) @ tril + noise
    # A point without a score says nothing.
    return _means(torch.where(at.log_density.isfinite().reshape(path.shape[:2])[:, :, None], path, 0.0), noise)


def _means(path: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    length = path.norm(dim=2, keepdim=True).clamp(min=1e-30)
    # A score may be so large that its square is not a number any more.
    path = (path * (_GRADIENT_CLIP * math.sqrt(path.shape[2]) / length).clamp(max=1.0)).nan_to_num(0.0)
    curvature = path.mT @ noise / path.shape[1]
    return path.mean(1), 0.5 * (curvature + curvature.mT)


def _moved(mean: Tensor, tril: Tensor, shift: Tensor, curvature: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    eigenvalues, vectors = torch.linalg.eigh(torch.eye(mean.shape[1], dtype=torch.float64) - curvature)
    eigenvalues = 1.0 - rate + rate * eigenvalues.clamp(_SHRINK, _GROWTH)
    covariance = (vectors / eigenvalues[:, None]) @ vectors.mT
    step = rate * (covariance @ shift[:, :, None])[:, :, 0]
    step = step * (math.sqrt(mean.shape[1]) / step.norm(dim=1, keepdim=True).clamp(min=1e-30)).clamp(max=1.0)
    return mean + (tril @ step[:, :, None])[:, :, 0], tril @ torch.linalg.cholesky(covariance)
