"""Gaussians and their mixtures, normalised: log Z = 0. Exact draws are float64."""

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .base import Target
from .constant import Constant

__all__ = ["LOG_SQRT_2PI", "Gaussian", "GaussianMixture"]

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


class Gaussian(Target):
    """The normal law N(mean, covariance)."""

    log_z = 0.0

    def __init__(self, mean: ArrayLike | Tensor, covariance: ArrayLike | Tensor) -> None:
        """Take the mean, (dim,), and the covariance, (dim, dim), or (dim,) for a diagonal of variances.

        Raises:
            ValueError: For other shapes, or a covariance that is not symmetric positive definite.
        """
        self._mean = Constant(mean)
        if len(self._mean.shape) != 1 or not self._mean.shape[0]:
            raise ValueError(f"mean must have shape (dim,), got {self._mean.shape}")
        self.dim = self._mean.shape[0]
        self._factor = _cholesky(Constant(covariance).master, self.dim)
        inverse = self._factor.reciprocal() if self._factor.ndim == 1 else torch.linalg.inv(self._factor)
        # (dim,) or the transpose of the inverse Cholesky factor, so that (x - mean) @ whiten is standard normal.
        self._whiten = Constant(inverse if inverse.ndim == 1 else inverse.mT)
        log_det = (self._factor if self._factor.ndim == 1 else self._factor.diagonal()).log().sum()
        self._constant = -float(log_det) - self.dim * LOG_SQRT_2PI

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Exact draws, `count x dim`."""
        noise = torch.randn(count, self.dim, generator=generator, device=generator.device, dtype=torch.float64)
        factor = self._factor.to(noise.device)
        return self._mean.like(noise) + (noise * factor if factor.ndim == 1 else noise @ factor.mT)

    def _log_density(self, x: Tensor) -> Tensor:
        return self._log_density_and_score(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        whiten, centred = self._whiten.like(x), x - self._mean.like(x)
        standard = centred * whiten if whiten.ndim == 1 else centred @ whiten
        score = -standard * whiten if whiten.ndim == 1 else -standard @ whiten.mT
        return self._constant - 0.5 * standard.square().sum(-1), score


class GaussianMixture(Target):
    """The mixture sum_k weight_k N(mean_k, diag(scale_k^2)) of K components."""

    log_z = 0.0

    def __init__(
        self, means: ArrayLike | Tensor, scales: ArrayLike | Tensor, weights: ArrayLike | Tensor | None = None
    ) -> None:
        """Take the components.

        Args:
            means: K x dim.
            scales: Standard deviations, positive: a number, or anything that broadcasts to K x dim.
            weights: (K,), positive; they are normalised. None: equal weights.

        Raises:
            ValueError: For other shapes or values.
        """
        self._means = Constant(means)
        if len(self._means.shape) != 2 or 0 in self._means.shape:
            raise ValueError(f"means must have shape (components, dim), got {self._means.shape}")
        count, self.dim = self._means.shape
        self._scales = Constant(_broadcast_scales(Constant(scales).master, (count, self.dim)))
        self._inverse_scales = Constant(self._scales.master.reciprocal())
        self._weights = _normalised(None if weights is None else Constant(weights).master, count)
        constants = self._weights.log() - self._scales.master.log().sum(-1) - self.dim * LOG_SQRT_2PI
        self._constants = Constant(constants)

    @property
    def means(self) -> Tensor:
        """Means of the components, `K x dim`, float64. Not to be written to."""
        return self._means.master

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Exact draws, `count x dim`."""
        weights = self._weights.to(generator.device)
        component = torch.multinomial(weights, count, replacement=True, generator=generator) if count else slice(0, 0)
        noise = torch.randn(count, self.dim, generator=generator, device=generator.device, dtype=torch.float64)
        draws: Tensor = self._means.like(noise)[component] + self._scales.like(noise)[component] * noise
        return draws

    def _log_density(self, x: Tensor) -> Tensor:
        return self._log_density_and_score(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # Differences before squares: expanding the square would lose float32 digits where means are far apart.
        standard = (x[:, None] - self._means.like(x)) * self._inverse_scales.like(x)
        terms = self._constants.like(x) - 0.5 * standard.square().sum(-1)
        weights, precisions = terms.softmax(-1), self._inverse_scales.like(x).square()
        score = weights @ (precisions * self._means.like(x)) - x * (weights @ precisions)
        return torch.logsumexp(terms, dim=-1), score


def _cholesky(covariance: Tensor, dim: int) -> Tensor:
    """Lower Cholesky factor (dim, dim), or standard deviations (dim,) of a diagonal covariance."""
    if tuple(covariance.shape) == (dim,):
        if not (covariance.isfinite().all() and (covariance > 0).all()):
            raise ValueError(f"covariance must be positive and finite on its diagonal, got {covariance.tolist()}")
        return covariance.sqrt()
    if tuple(covariance.shape) != (dim, dim):
        raise ValueError(f"covariance must have shape ({dim}, {dim}) or ({dim},), got {tuple(covariance.shape)}")
    cholesky = torch.linalg.cholesky_ex(covariance)
    asymmetry = (covariance - covariance.mT).abs().max()
    if bool(cholesky.info) or not asymmetry <= 1e-6 * covariance.abs().max():  # NaN fails too
        raise ValueError("covariance must be symmetric and positive definite")
    factor: Tensor = cholesky.L
    return factor


def _broadcast_scales(scales: Tensor, shape: tuple[int, int]) -> Tensor:
    if not (scales.isfinite().all() and (scales > 0).all()):
        raise ValueError(f"scales must be positive and finite, got {scales.tolist()}")
    try:
        return torch.broadcast_to(scales, shape)
    except RuntimeError:
        raise ValueError(f"scales must broadcast to shape {shape}, got {tuple(scales.shape)}") from None


def _normalised(weights: Tensor | None, count: int) -> Tensor:
    if weights is None:
        return torch.full((count,), 1 / count, dtype=torch.float64)
    if tuple(weights.shape) != (count,) or not (weights.isfinite().all() and (weights > 0).all()):
        raise ValueError(f"weights must be {count} positive numbers, got {weights.tolist()}")
    return weights / weights.sum()
