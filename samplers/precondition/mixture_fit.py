"""Mixtures of Gaussians fitted to particles by expectation maximisation, with a prior that keeps covariances wide.

The prior of a component's covariance is inverse Wishart around the covariance of all particles, worth as many
particles as it needs to be proper. It holds components wide, which is the safe side for a proposal.
"""

import torch
from torch import Tensor

from ..components import Components, Mixture
from ..random import keyed_generator

__all__ = ["fit_mixture"]

_ITERATIONS = 60


def fit_mixture(x: Tensor, count: int, seed: int) -> Components | None:
    """A mixture of `count` Gaussians on particles `n x dim`, or None where the particles are too few for it."""
    n, dim = x.shape
    if n < 4 * count * dim**0.5 or n <= dim + 2:
        return None
    whole = torch.cov(x.T).reshape(dim, dim)
    whole = 0.99 * whole + 0.01 * torch.diag(whole.diagonal().clamp(min=1e-20))
    factor = torch.linalg.cholesky_ex(whole)
    if bool(factor.info):
        return None
    if count == 1:
        return Components(torch.zeros(1, dtype=torch.float64), x.mean(0)[None], factor.L[None])
    # In the frame that whitens all particles: the prior is then around I.
    z = torch.linalg.solve_triangular(factor.L, (x - x.mean(0)).T, upper=False).T
    fitted = _maximise(z, count, seed)
    if fitted is None:
        return None
    return Components(fitted.log_weight, x.mean(0) + fitted.mean @ factor.L.T, factor.L @ fitted.tril)


def _maximise(z: Tensor, count: int, seed: int) -> Components | None:
    n, dim = z.shape
    first = torch.from_numpy(keyed_generator("precondition/mixture", seed, count).choice(n, count, replace=False))
    strength = dim + 2.0
    prior = strength * count ** (-2.0 / dim) * torch.eye(dim, dtype=torch.float64)
    mean, tril = z[first], torch.eye(dim, dtype=torch.float64).expand(count, dim, dim).clone()
    log_weight = torch.zeros(count, dtype=torch.float64)
    for _ in range(_ITERATIONS):
        share = Mixture(Components(log_weight.log_softmax(0), mean, tril)).log_terms(z).softmax(1)
        mass = share.sum(0).clamp(min=1e-8)
        mean = (share.T @ z) / mass[:, None]
        centred = z[None] - mean[:, None]
        scatter = (share.T[:, :, None] * centred).mT @ centred
        factor = torch.linalg.cholesky_ex((scatter + prior) / (mass + strength)[:, None, None])
        if bool(factor.info.any()):
            return None
        tril, log_weight = factor.L, mass.log()
    return Components(log_weight.log_softmax(0), mean, tril)
