"""Exact denoisers: a Gaussian's, which is a baseline and a part of networks, and that of a mixture of Gaussians.

With y = alpha x + sigma eps and x ~ N(m, V diag(s^2) V^T), in the coordinates of V,

    E[x | y] = m + V diag( alpha s^2 / (alpha^2 s^2 + sigma^2) ) V^T (y - alpha m).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.constant import Constant
from gephyra.targets.gaussian import LOG_SQRT_2PI

from ..components import Components
from .denoiser import Denoiser
from .schedule import Level, preserving

__all__ = ["GaussianDenoiser", "MixtureDenoiser", "Posterior"]


class GaussianDenoiser(Denoiser):
    """The posterior mean of N(mean, covariance).

    Args:
        mean: `(dim,)`.
        covariance: `dim x dim`, or variances `(dim,)`.

    Raises:
        ValueError: For other shapes, or a covariance that is not positive definite.
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        mean, covariance = mean.double(), covariance.double()
        self.dim = mean.shape[0]
        if mean.ndim != 1 or tuple(covariance.shape) not in {(self.dim,), (self.dim, self.dim)}:
            came = f"{tuple(mean.shape)} and {tuple(covariance.shape)}"
            raise ValueError(f"mean (dim,) and covariance (dim, dim) or (dim,) expected, got {came}")
        variance, basis = (covariance, None) if covariance.ndim == 1 else torch.linalg.eigh(covariance)
        if not bool((variance > 0).all()):
            raise ValueError("covariance must be positive definite: is a column constant, or a sum of others?")
        self._mean, self._variance = Constant(mean), Constant(variance)
        self._basis = None if basis is None else Constant(basis)

    @classmethod
    def of(cls, x: Tensor) -> "GaussianDenoiser":
        """With the mean and the covariance of data x, `rows x dim`, more rows than dimensions."""
        centred = x.double() - x.double().mean(0)
        return cls(x.double().mean(0), centred.mT @ centred / len(x))

    @property
    def mean(self) -> Tensor:
        """`(dim,)` float64. Not to be written to."""
        return self._mean.master

    @property
    def covariance(self) -> Tensor:
        """`dim x dim`, or variances `(dim,)`; float64."""
        if self._basis is None:
            return self._variance.master
        return (self._basis.master * self._variance.master) @ self._basis.master.mT

    def data(self, y: Tensor, log_snr: Tensor) -> Tensor:
        level = preserving(log_snr.to(y))
        gain = level.alpha * self._variance.like(y) / self._total(y, level)
        return self._mean.like(y) + self._apply(gain, y - level.alpha * self._mean.like(y))

    def from_others(self, y: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each coordinate of x given all other coordinates of y: `batch x dim` each."""
        # In float64 whatever y is: where there is hardly any noise, or hardly any data, small differences are left.
        exact, level = y.double(), preserving(log_snr.double())
        weight = self._total(exact, level).reciprocal()
        centred = exact - level.alpha * self._mean.like(exact)
        if self._basis is None:
            precision, pulled = weight, weight * centred
        else:
            basis = self._basis.like(exact)
            precision, pulled = weight @ basis.square().mT, (weight * (centred @ basis)) @ basis.mT
        # P_dd is the precision of y_d given the others, and (P (y - alpha m))_d / P_dd how far it is from its mean.
        mean = (exact - pulled / precision) / level.alpha
        variance = (1.0 / precision - level.sigma.square()) / level.alpha.square()
        return mean.to(y), variance.to(y)

    def explained(self, vector: Tensor, log_snr: Tensor) -> Tensor:
        """alpha^2 C (alpha^2 C + sigma^2)^-1 of vectors, `batch x dim`: the share of y's variance that x has."""
        level = preserving(log_snr.to(vector))
        gain = level.alpha.square() * self._variance.like(vector) / self._total(vector, level)
        return self._apply(gain, vector)

    def shares(self, log_snr: Tensor) -> Tensor:
        """Eigenvalues of the matrix of `explained`, `batch x dim`."""
        level = preserving(log_snr)
        signal = level.alpha.square() * self._variance.like(log_snr)
        return signal / (signal + level.sigma.square())

    def expected_error(self, log_snr: Tensor) -> Tensor:
        """E|eps - eps'|^2 on data with this mean and covariance, `(batch,)`."""
        return self.shares(log_snr).sum(-1)

    def log_density(self, x: Tensor) -> Tensor:
        """Of the Gaussian at x, `batch x dim`: `(batch,)` float64."""
        centred, variance = x.double() - self._mean.master, self._variance.master
        rotated = centred if self._basis is None else centred @ self._basis.master
        return -0.5 * (rotated.square() / variance + variance.log()).sum(-1) - self.dim * LOG_SQRT_2PI

    def _total(self, like: Tensor, level: Level) -> Tensor:
        return level.alpha.square() * self._variance.like(like) + level.sigma.square()

    def _apply(self, gain: Tensor, vector: Tensor) -> Tensor:
        if self._basis is None:
            return gain * vector
        basis = self._basis.like(vector)
        return (gain * (vector @ basis)) @ basis.mT


class Posterior(NamedTuple):
    """Of x given y."""

    mean: Tensor
    """`batch x dim`."""
    variance: Tensor
    """Sum of the coordinates' variances, `(batch,)`."""
    log_density: Tensor
    """Of y, `(batch,)`."""


class MixtureDenoiser(Denoiser):
    """The posterior mean of a mixture of Gaussians: the ground truth of a network trained on its draws.

    Args:
        components: Weights, means and factors.
    """

    def __init__(self, components: Components) -> None:
        self.dim = components.mean.shape[1]
        self._log_weight = Constant(components.log_weight.double().log_softmax(0)[:, None])
        self._mean = Constant(components.mean[:, None])
        if components.tril.ndim == 2:
            self._variance, self._basis = Constant(components.tril.double().square()[:, None]), None
        else:
            basis, scale, _ = torch.linalg.svd(components.tril.double())
            self._variance, self._basis = Constant(scale.square()[:, None]), Constant(basis)

    def data(self, y: Tensor, log_snr: Tensor) -> Tensor:
        weight, each, _ = self._components(y, preserving(log_snr.to(y)))
        return (weight.softmax(0)[..., None] * each).sum(0)

    def posterior(self, y: Tensor, log_snr: Tensor) -> Posterior:
        """The law of x given noised points y, `batch x dim`, of levels log_snr, `(batch,)`, in y's element type."""
        level = preserving(log_snr.to(y))
        terms, each, total = self._components(y, level)
        weight = terms.softmax(0)
        centre = (weight[..., None] * each).sum(0)
        within = (self._variance.like(y) * level.sigma.square() / total).sum(-1)
        between = (each - centre).square().sum(-1)
        return Posterior(centre, (weight * (within + between)).sum(0), torch.logsumexp(terms, 0))

    def _components(self, y: Tensor, level: Level) -> tuple[Tensor, Tensor, Tensor]:
        """Log of weight times density of y, `K x batch`, posterior means and y's variances, `K x batch x dim`."""
        mean, variance = self._mean.like(y), self._variance.like(y)
        total = level.alpha.square() * variance + level.sigma.square()
        centred = y - level.alpha * mean
        rotated = centred if self._basis is None else centred @ self._basis.like(y)
        exponent = -0.5 * (rotated.square() / total + total.log()).sum(-1) - self.dim * LOG_SQRT_2PI
        step = level.alpha * variance / total * rotated
        each = mean + (step if self._basis is None else step @ self._basis.like(y).mT)
        return self._log_weight.like(y) + exponent, each, total
