"""Follow a mixture into the narrow ends of a target that neither its fit nor particles reach.

Where mass thins out along an axis while the target narrows in all other directions, as in the neck of a funnel, reverse
Kullback-Leibler feels no pull, and the steps of a sampler are too long: a percent of Z can be missing without a trace.
But the components that lie on the way tell how it goes on. From component j to its neighbour k the mean moved by
m_k - m_j and the factor by R = L_j^-1 L_k; s steps more lead to m_k + s (m_k - m_j) and L_k R^s, exact for a funnel.
Such candidates are fitted across their axis (newton.py). The mass that one holds and the mixture lacks is estimated by
importance sampling with the candidate as proposal; the best one joins with that weight, and the search goes on from it.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..components import MOST_COMPONENTS, Components, Mixture
from ..random import normal_noise
from .evaluation import log_densities
from .found import Spent
from .newton import newton_fit_across

__all__ = ["extended"]

_NEIGHBOURS, _STEPS_ON = 4, (1, 2, 3)
# Points, in pairs, that judge a candidate; candidates that are fitted in one round.
_PAIRS, _CANDIDATES = 32, 96
# Nats by which the mixture falls short of a candidate at half of its points: nothing nearer is news.
_NEWS = 5.0
# Nats by which the mixture falls short of the target where mass counts as lacking.
_LACKING = 1.5
# What a candidate has to hold, as a share of Z, and how well its points have to say so.
_LEAST_MASS, _LEAST_ESS, _LEAST_ERRORS = 2e-4, 0.2, 2.0


class _Candidates(NamedTuple):
    mean: Tensor
    tril: Tensor
    axis: Tensor

    def chosen(self, keep: Tensor) -> "_Candidates":
        return _Candidates(*(part[keep] for part in self))


class _Judged(NamedTuple):
    """What the points of each candidate say, `(n,)` each."""

    news: Tensor
    elbo: Tensor
    """Of the candidate alone, relative to log Z."""
    lacking: Tensor
    """Share of Z, zero where the points do not say so well."""


def extended(target: Target, components: Components, log_z: float, seed: int, spent: Spent) -> Components:
    """The mixture, full factors, with components added where it goes on beyond its ends.

    Args:
        target: The density.
        components: The mixture, of two components or more.
        log_z: Its estimate of log Z.
        seed: Seed of the noise.
        spent: Asked before every round; at 1 or more the mixture stays what it got to be.
    """
    half = normal_noise((_PAIRS, target.dim), "precondition/extend", seed, 0).double()
    noise, tried = torch.cat([half, -half]), set[tuple[int, int]]()
    while len(components.mean) < MOST_COMPONENTS and spent() < 1.0:
        pairs = [pair for pair in _neighbours(components) if pair not in tried]
        if not pairs:
            break
        tried.update(pairs)
        candidates, mixture = _continued(components, pairs), Mixture(components)
        judged = _judge(target, mixture, candidates, noise, log_z)
        fresh = (judged.news > _NEWS).nonzero()[:, 0]
        fresh = fresh[judged.elbo[fresh].argsort(descending=True)][:_CANDIDATES]
        if not len(fresh):
            break
        candidates = candidates.chosen(fresh)
        mean, tril = newton_fit_across(target, *candidates, seed)
        candidates = candidates._replace(mean=mean, tril=tril)
        lacking = _judge(target, mixture, candidates, noise, log_z).lacking
        best = int(lacking.argmax())
        if not float(lacking[best]) > _LEAST_MASS:
            break
        components = _joined(components, candidates, best, lacking[best])
    return components


def _neighbours(components: Components) -> list[tuple[int, int]]:
    """(k, j) with j among the nearest to k in its own frame."""
    pairs = []
    for k, (mean, tril) in enumerate(zip(components.mean, components.tril, strict=True)):
        standard = torch.linalg.solve_triangular(tril, (components.mean - mean).T, upper=False)
        nearest = standard.norm(dim=0).argsort()[1 : 1 + _NEIGHBOURS]
        pairs += [(k, int(j)) for j in nearest]
    return pairs


def _continued(components: Components, pairs: list[tuple[int, int]]) -> _Candidates:
    far, near = torch.tensor(pairs).T
    mean, tril = components.mean[far], components.tril[far]
    axis = mean - components.mean[near]
    ratio = torch.linalg.solve_triangular(components.tril[near], tril, upper=False)
    trils = [tril @ torch.linalg.matrix_power(ratio, steps) for steps in _STEPS_ON]
    means = [mean + steps * axis for steps in _STEPS_ON]
    return _Candidates(torch.cat(means), torch.cat(trils), axis.repeat(len(_STEPS_ON), 1))


def _judge(target: Target, mixture: Mixture, candidates: _Candidates, noise: Tensor, log_z: float) -> _Judged:
    points = candidates.mean[:, None] + noise @ candidates.tril.mT
    flat, shape = points.flatten(0, 1), points.shape[:2]
    constant = candidates.tril.diagonal(dim1=1, dim2=2).log().sum(1) + 0.5 * noise.shape[1] * math.log(2.0 * math.pi)
    own = -0.5 * noise.square().sum(1) - constant[:, None]
    target_log = log_densities(target, flat).reshape(shape) - log_z
    mixture_log = mixture.log_density(flat).reshape(shape)
    log_weight, excess = target_log - own, target_log - mixture_log
    lacking = torch.where(excess > _LACKING, log_weight.exp() * -torch.expm1(-excess), 0.0)
    weight = (log_weight - log_weight.max(1, keepdim=True).values).exp().nan_to_num(0.0)
    ess = weight.mean(1).square() / weight.square().mean(1)
    mass, error = lacking.mean(1), lacking.std(1) / math.sqrt(len(noise))
    sure = (ess > _LEAST_ESS) & (mass > _LEAST_ERRORS * error) & mass.isfinite()
    news = (own - mixture_log).median(1).values
    return _Judged(news, log_weight.mean(1).nan_to_num(-math.inf), torch.where(sure, mass, 0.0))


def _joined(components: Components, candidates: _Candidates, index: int, mass: Tensor) -> Components:
    weights = torch.cat([components.log_weight.log_softmax(0), mass.log()[None]]).log_softmax(0)
    mean = torch.cat([components.mean, candidates.mean[index : index + 1]])
    return Components(weights, mean, torch.cat([components.tril, candidates.tril[index : index + 1]]))
