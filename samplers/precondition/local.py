"""One Gaussian a mode, and the weight of each, from the maxima of the density.

Every maximum starts a Gaussian, and so does 0 with a small scale: where the joint density has its maximum in a narrow
place without mass, as in hierarchical models, the Gaussian from 0 finds the mass. After variational inference a mode is
what is left of Gaussians that are not negligible beside the best and that a barrier parts from better ones.

The weights maximise the expected log density of the mixture under the target (M-PMC: Cappe et al. 2008), by importance
sampling from the components at equal shares: one set of draws serves all iterations.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target
from gephyra.targets.gaussian import LOG_SQRT_2PI

from ..components import MOST_COMPONENTS, Components, Mixture
from ..random import normal_noise
from .baseline import measure
from .evaluation import log_densities
from .landscape import merge_without_barrier
from .newton import newton_fit

__all__ = ["PEAK", "ZERO", "Fitted", "Starts", "fit_modes", "origin"]

PEAK = "laplace"
"""The word for a start at a maximum with the Gaussian of its curvature (Laplace's approximation)."""
ZERO = "zero"
"""The word for the start that knows nothing."""

_ORIGIN_SCALE = 0.3
_DRAWS = 4096
# Nats below the best ELBO. The ELBO of a mode may be several nats below its share of log Z.
_NEGLIGIBLE = 12.0
# Less than this share of the mass is not a mode that draws would show.
_LEAST_WEIGHT = 1e-5
# KL divergence, in nats, below which two Gaussians are one.
_EQUAL = 0.5
_WEIGHT_ITERATIONS = 50
# Below this effective sample size the weights follow the ELBOs, which have less noise.
_LEAST_ESS = 0.02


class Starts(NamedTuple):
    """Gaussians to start from: means `n x dim`, factors `n x dim x dim`, a word for each."""

    mean: Tensor
    tril: Tensor
    name: tuple[str, ...]


class Fitted(NamedTuple):
    """A mixture with one component a mode, and the start of its best component."""

    components: Components
    start: str


class _Drawn(NamedTuple):
    """Draws of each component, `K x n x dim`, with log gamma and the log density of their own, `K x n`."""

    point: Tensor
    log_target: Tensor
    log_own: Tensor

    @property
    def elbo(self) -> Tensor:
        """ELBO of each component, (K,), restricted to where the target is positive."""
        log_weight = self.log_target - self.log_own
        finite = log_weight.isfinite()
        share = finite.double().mean(1)
        return torch.where(finite, log_weight, 0.0).sum(1) / finite.sum(1).clamp(min=1) + share.log()

    def rows(self, index: Tensor) -> "_Drawn":
        return _Drawn(*(value[index] for value in self))


def origin(dim: int) -> Starts:
    """The start that knows nothing: 0, with a small scale."""
    tril = _ORIGIN_SCALE * torch.eye(dim, dtype=torch.float64)
    return Starts(torch.zeros(1, dim, dtype=torch.float64), tril[None], (ZERO,))


def fit_modes(target: Target, starts: Starts, seed: int, spent: Callable[[], float] = lambda: 0.0) -> Fitted:
    """Fit a Gaussian from each start and keep one a mode.

    Raises:
        ValueError: If no Gaussian has a finite ELBO: the log density is not finite where the starts are.
    """
    mean, tril = newton_fit(target, starts.mean, starts.tril, seed, spent)
    drawn = _draw(target, mean, tril, seed)
    elbo = drawn.elbo
    if not bool(elbo.isfinite().any()):
        raise ValueError("the log density is not finite around 0 nor around its mode: no Gaussian fits it")
    order = elbo.argsort(descending=True)
    order = order[elbo[order] > elbo.max() - _NEGLIGIBLE]
    kept = _distinct(target, mean[order], tril[order], drawn.rows(order))
    chosen = order[kept][:MOST_COMPONENTS]
    components = _mixture(mean[chosen], tril[chosen], drawn.rows(chosen))
    if len(components.mean) > 1 and spent() < 1.0:
        components = _better(target, components, starts, seed)
    return Fitted(components, starts.name[int(chosen[0])])


def _better(target: Target, components: Components, starts: Starts, seed: int) -> Components:
    """Of the fitted mixture and that of the peaks' own Gaussians, the one of larger ELBO.

    Where modes nearly touch, a Gaussian that was fitted alone spreads over its neighbour.
    """
    peaks = torch.tensor([name == PEAK for name in starts.name])
    if int(peaks.sum()) <= len(components.mean):
        return components
    mean, tril = starts.mean[peaks][:MOST_COMPONENTS], starts.tril[peaks][:MOST_COMPONENTS]
    raw = _mixture(mean, tril, _draw(target, mean, tril, seed))
    return max(components, raw, key=lambda mixture: measure(target, mixture, "local", seed).elbo)


def _mixture(mean: Tensor, tril: Tensor, drawn: _Drawn) -> Components:
    components = _weighted(Components(drawn.elbo.clamp(min=-1e30).log_softmax(0), mean, tril), drawn)
    return components.chosen(components.log_weight > math.log(_LEAST_WEIGHT))


def _draw(target: Target, mean: Tensor, tril: Tensor, seed: int) -> _Drawn:
    count, dim = mean.shape
    # Pairs of mirror images halve the noise of what is odd.
    half = normal_noise((count, max(32, _DRAWS // (2 * count)), dim), "precondition/local", seed, 0).double()
    noise = torch.cat([half, -half], 1)
    point = mean[:, None] + noise @ tril.mT
    log_own = -0.5 * noise.square().sum(2) - dim * LOG_SQRT_2PI
    log_own = log_own - tril.diagonal(dim1=1, dim2=2).log().sum(1)[:, None]
    return _Drawn(point, log_densities(target, point.flatten(0, 1)).reshape(log_own.shape), log_own)


def _distinct(target: Target, mean: Tensor, tril: Tensor, drawn: _Drawn) -> Tensor:
    """Indices of the Gaussians, best first, that are neither nearly equal to a better one nor joined to it."""
    count = len(mean)
    density = Mixture(Components(torch.zeros(count, dtype=torch.float64), mean, tril))
    # Weights in the terms are all 1 / count.
    terms = density.log_terms(drawn.point.flatten(0, 1)).reshape(count, -1, count) + math.log(count)
    divergence = (drawn.log_own[:, :, None] - terms).mean(1)
    apart: list[int] = []
    for index in range(count):
        if all(float(divergence[index, other]) > _EQUAL for other in apart):
            apart.append(index)
    return torch.tensor([apart[index] for index in merge_without_barrier(target, mean[apart])])


def _weighted(components: Components, drawn: _Drawn) -> Components:
    if len(components.mean) == 1:
        return components
    terms = Mixture(components).log_terms(drawn.point.flatten(0, 1)) - components.log_weight
    log_weight = drawn.log_target.flatten() - torch.logsumexp(terms, 1)
    share = log_weight.softmax(0)
    if float(1.0 / share.square().sum()) < _LEAST_ESS * len(share):
        return components
    weight = components.log_weight
    for _ in range(_WEIGHT_ITERATIONS):
        weight = (share @ (weight + terms).softmax(1)).log()
    return components._replace(log_weight=weight.clamp(min=-700.0).log_softmax(0))
