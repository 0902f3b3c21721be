"""Mixture of products of Student-t laws, equal weights, normalised (log Z = 0): heavy tails in every coordinate."""

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .base import AutogradTarget
from .constant import Constant

__all__ = ["StudentMixture"]


class StudentMixture(AutogradTarget):
    """K components, each a product over coordinates of t(df) at its mean with scale 1. Exact draws are float64."""

    log_z = 0.0

    def __init__(self, means: ArrayLike | Tensor, df: float = 2.0) -> None:
        """Take the centres, K x dim, and the degrees of freedom.

        Raises:
            ValueError: For another shape, or df that is not positive and finite.
        """
        self._means = Constant(means)
        if len(self._means.shape) != 2 or 0 in self._means.shape:
            raise ValueError(f"means must have shape (components, dim), got {self._means.shape}")
        if not 0 < df < math.inf:
            raise ValueError(f"df must be positive and finite, got {df}")
        count, self.dim = self._means.shape
        self.df = df
        log_norm = math.lgamma(0.5 * (df + 1)) - math.lgamma(0.5 * df) - 0.5 * math.log(df * math.pi)
        self._constant = self.dim * log_norm - math.log(count)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Exact draws, `count x dim`, by Bailey's polar formula (Mathematics of Computation 62, 1994)."""
        shape, device = (count, self.dim), generator.device
        u, v = torch.rand(2, *shape, generator=generator, device=device, dtype=torch.float64)
        # 1 - u is in (0, 1]: no infinite draw.
        radius = (self.df * torch.expm1(-2 / self.df * torch.log1p(-u))).sqrt()
        component = torch.randint(self._means.shape[0], (count,), generator=generator, device=device)
        draws: Tensor = self._means.like(u)[component] + radius * (2 * math.pi * v).cos()
        return draws

    def _log_density(self, x: Tensor) -> Tensor:
        distance = x[:, None] - self._means.like(x)
        terms = -0.5 * (self.df + 1) * torch.log1p(distance.square() / self.df).sum(-1)
        return torch.logsumexp(terms, dim=-1) + self._constant
