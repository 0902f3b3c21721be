"""How much mass a mixture lacks where other Gaussians lie, by population Monte Carlo (Cappe et al. 2008).

With gamma the density and q the mixture, what q lacks is the integral of (gamma / Z - q) where gamma / Z > 2 q: less is
seen by the weights of draws of q. A proposal that starts as the other Gaussians estimates it by importance sampling,
and is fitted to it, round by round, by one step of expectation maximisation. Weights are truncated (Ionides 2008): a
single draw can lower an estimate, never raise it much.
"""

import math

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..components import Components, Mixture
from ..random import normal_noise
from .evaluation import log_densities
from .found import Spent

__all__ = ["lacking_mass"]

_POINTS, _ROUNDS, _COUNTED = 16384, 8, 4
_WIDENED = 1.2
_LACKING = math.log(2.0)
# Points a dimension, in effect, that a covariance takes before it is believed as much as the old one.
_TRUST = 2.0
# Of the points, at least, to a component that nothing came to.
_LEAST_SHARE = 1e-4


def lacking_mass(
    target: Target, mixture: Mixture, proposal: Components, log_z: float, seed: int, spent: Spent
) -> float:
    """Share of Z that the mixture lacks where the proposal reaches; the mean of the last rounds.

    Args:
        target: The density.
        mixture: q, normalised.
        proposal: Where to look first; full factors.
        log_z: Estimate of log Z.
        seed: Seed of the noise.
        spent: Asked before every round but the first; at 1 or more the rounds so far count.
    """
    shares: list[float] = []
    for turn in range(_ROUNDS):
        if turn and spent() >= 1.0:
            break
        wide = proposal.widened(_WIDENED)
        points = _points(wide, seed, turn)
        terms = Mixture(wide).log_terms(points)
        target_log, proposal_log = log_densities(target, points) - log_z, torch.logsumexp(terms, 1)
        excess = target_log - mixture.log_density(points)
        weight = torch.where(excess > _LACKING, (target_log - proposal_log).exp() * -torch.expm1(-excess), 0.0)
        weight = weight.nan_to_num(0.0, posinf=0.0)
        weight = weight.clamp(max=float(weight.mean()) * math.sqrt(_POINTS))
        shares.append(float(weight.mean()))
        proposal = _refitted(proposal, points, terms.softmax(1) * weight[:, None])
    counted = shares[-_COUNTED:]
    return sum(counted) / len(counted)


def _points(proposal: Components, seed: int, turn: int) -> Tensor:
    noise = normal_noise((_POINTS, proposal.mean.shape[1] + 1), "precondition/population", seed, turn).double()
    return proposal.sample(noise[:, 1:], torch.special.ndtr(noise[:, 0]))


def _refitted(proposal: Components, points: Tensor, share: Tensor) -> Components:
    """One step of expectation maximisation, `share` being weight times responsibility, `points x components`."""
    total = share.sum(0)
    mean, tril = proposal.mean.clone(), proposal.tril.clone()
    effective = total.square() / share.square().sum(0)
    least = _TRUST * points.shape[1]
    for k in (effective > least).nonzero()[:, 0].tolist():
        part = share[:, k] / total[k]
        mean[k] = part @ points
        centred = points - mean[k]
        trust = effective[k] / (effective[k] + least)
        covariance = (part[:, None] * centred).T @ centred
        tril[k] = torch.linalg.cholesky(covariance.lerp(proposal.tril[k] @ proposal.tril[k].T, 1.0 - trust))
    whole = total.sum()
    weight = proposal.log_weight if not whole > 0.0 else (total / whole + _LEAST_SHARE).log()
    return Components(weight.log_softmax(0), mean, tril)
