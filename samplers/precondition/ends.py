"""How much of a target lies beyond the ends of a mixture, where neither its fit nor particles reach.

Where mass thins out along an axis while the target narrows, or widens, in all other directions, as in a funnel, reverse
Kullback-Leibler feels no pull, and the steps of a sampler are too long: a percent of Z can be missing and no weight
shows it. But the components that lie on the way tell how it goes on. From component j to its neighbour k the mean moved
by m_k - m_j and the factor by R = L_j^-1 L_k; s steps more lead to m_k + s (m_k - m_j) and L_k R^s, exact for a funnel.
Such candidates are fitted across their axis (newton.py). The mass that one holds and the mixture lacks is estimated by
importance sampling with the candidate as proposal; the search goes on from the best one. What all that were found lead
to is a matter of more points and of proposals that adapt (population.py).

The components found are not for a prior: Langevin steps that suit the bulk are far too long for them, and the few paths
that start there would rule the gradient.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target
from gephyra.targets.gaussian import LOG_SQRT_2PI

from ..components import Components, Mixture
from ..random import normal_noise
from .evaluation import log_densities
from .found import Spent
from .newton import newton_fit_across
from .population import lacking_mass

__all__ = ["mass_beyond"]

_NEIGHBOURS, _STEPS_ON, _ROUNDS = 4, (1, 2, 3), 12
# Points, in pairs, that judge a candidate; candidates that are fitted in one round, and of these at a time.
_PAIRS, _CANDIDATES, _TOGETHER = 32, 512, 32
# Nats by which the mixture falls short of a candidate at half of its points: nothing nearer is news.
_NEWS = 5.0
# Nats by which the mixture falls short of the target where mass counts as lacking.
_LACKING = 1.5
# Nats: a candidate that starts further below log Z than this is nowhere near the target.
_LEAST_ELBO = -30.0
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


def mass_beyond(target: Target, components: Components, log_z: float, seed: int, spent: Spent) -> float:
    """Share of Z, in [0, 1), that was found beyond the ends of a mixture of full factors: at least so much it lacks.

    Args:
        target: The density.
        components: The mixture, of two components or more.
        log_z: Its estimate of log Z.
        seed: Seed of the noise.
        spent: Asked before every round; at 1 or more the search ends.
    """
    half = normal_noise((_PAIRS, target.dim), "precondition/ends", seed, 0).double()
    noise, tried, own = torch.cat([half, -half]), set[tuple[int, int]](), len(components.mean)
    for _ in range(_ROUNDS):
        pairs = [pair for pair in _neighbours(components) if pair not in tried]
        if not pairs or spent() >= 1.0:
            break
        tried.update(pairs)
        found = _best(target, components, _continued(components, pairs), noise, log_z, seed)
        if found is None:
            break
        components = found
    if len(components.mean) == own:
        return 0.0
    mixture, ends = components.chosen(torch.arange(own)), components.chosen(torch.arange(own, len(components.mean)))
    held = float(components.log_weight[own:].exp().sum())
    return max(held, lacking_mass(target, Mixture(mixture), ends, log_z, seed, spent))


def _best(
    target: Target, components: Components, candidates: _Candidates, noise: Tensor, log_z: float, seed: int
) -> Components | None:
    """The mixture with the best candidate; None where none holds enough."""
    mixture = Mixture(components)
    judged = _judge(target, mixture, candidates, noise, log_z)
    led = candidates.axis.abs().sum(1) > 0.0
    fresh = (led & (judged.news > _NEWS) & (judged.elbo > _LEAST_ELBO)).nonzero()[:, 0]
    fresh = fresh[judged.elbo[fresh].argsort(descending=True)][:_CANDIDATES]
    if not len(fresh):
        return None
    candidates = candidates.chosen(fresh)
    candidates = _fitted(target, candidates, seed)
    lacking = _judge(target, mixture, candidates, noise, log_z).lacking
    best = int(lacking.argmax())
    return _joined(components, candidates, best, lacking[best]) if float(lacking[best]) > _LEAST_MASS else None


def _fitted(target: Target, candidates: _Candidates, seed: int) -> _Candidates:
    # Few at a time: the points of all at once would not fit the cache.
    parts = zip(*(part.split(_TOGETHER) for part in candidates), strict=True)
    fits = [newton_fit_across(target, mean, tril, axis, seed) for mean, tril, axis in parts]
    means, trils = zip(*fits, strict=True)
    return candidates._replace(mean=torch.cat(means), tril=torch.cat(trils))


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
    constant = candidates.tril.diagonal(dim1=1, dim2=2).log().sum(1) + noise.shape[1] * LOG_SQRT_2PI
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
