"""Neal's funnel: x_0 ~ N(0, scale), x_i | x_0 ~ N(0, exp(x_0 / 2)), standard deviations; log Z = 0."""

import math

import torch
from torch import Tensor

from .base import Target
from .gaussian import LOG_SQRT_2PI
from .logspace import times_exp

__all__ = ["Funnel"]


class Funnel(Target):
    """The funnel in `dim` dimensions; the neck is at negative x_0. Exact draws are float64 and not clipped."""

    log_z = 0.0

    def __init__(self, dim: int = 10, scale: float = 3.0) -> None:
        """Take the dimension and the standard deviation of x_0.

        Raises:
            ValueError: Unless dim >= 2 and scale is positive and finite.
        """
        if dim < 2:
            raise ValueError(f"dim must be at least 2, got {dim}")
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be positive and finite, got {scale}")
        self.dim, self.scale = dim, scale
        self._constant = -math.log(scale) - dim * LOG_SQRT_2PI

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Exact draws, `count x dim`."""
        noise = torch.randn(count, self.dim, generator=generator, device=generator.device, dtype=torch.float64)
        first = self.scale * noise[:, :1]
        return torch.cat([first, times_exp(noise[:, 1:], 0.5 * first)], dim=-1)

    def _log_density(self, x: Tensor) -> Tensor:
        return self._log_density_and_score(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, rest = x[:, :1], x[:, 1:]
        standard = times_exp(rest, -0.5 * first)
        squares, others = standard.square().sum(-1, keepdim=True), self.dim - 1
        quadratic = squares + (first / self.scale).square() + others * first
        score_first = 0.5 * (squares - others) - first / self.scale**2
        score_rest = -times_exp(standard, -0.5 * first)
        return self._constant - 0.5 * quadratic[:, 0], torch.cat([score_first, score_rest], dim=-1)
