"""Many-well: a product of double wells and standard normals, with 2^wells modes.

    log gamma(x) = -sum_{i < wells} (x_i^2 - delta)^2 - sum_{i >= wells} x_i^2 / 2

Definition and log Z as in Blessing et al. 2025 (underdamped diffusion bridges). log Z is the sum of one-dimensional
integrals, computed at construction. Exact draws are float64.
"""

import math

import numpy as np
import torch
from torch import Tensor

from .base import Target
from .gaussian import LOG_SQRT_2PI

__all__ = ["ManyWell", "double_well_log_z"]

_SHALLOWEST, _DEEPEST = 0.1, 1000.0
"""Range of delta: below it there is hardly a barrier, above it the two modes never meet in any precision."""


class ManyWell(Target):
    """A product of `wells` double wells with modes near +-sqrt(delta) and dim - wells standard normals."""

    def __init__(self, dim: int = 5, wells: int = 5, delta: float = 4.0) -> None:
        """Take the dimension, the number of double wells and their separation.

        Raises:
            ValueError: Unless 1 <= wells <= dim and 0.1 <= delta <= 1000.
        """
        if not 1 <= wells <= dim:
            raise ValueError(f"wells must be between 1 and dim = {dim}, got {wells}")
        if not _SHALLOWEST <= delta <= _DEEPEST:
            raise ValueError(f"delta must be between {_SHALLOWEST} and {_DEEPEST}, got {delta}")
        self.dim, self.wells, self.delta = dim, wells, delta
        self.log_z = wells * double_well_log_z(delta) + (dim - wells) * LOG_SQRT_2PI

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Exact draws, `count x dim`."""
        noise = torch.randn(count, self.dim, generator=generator, device=generator.device, dtype=torch.float64)
        noise[:, : self.wells] = self._sample_wells(count * self.wells, generator).reshape(count, self.wells)
        return noise

    def _sample_wells(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws of one double well, (count,), by rejection.

        For x >= 0, (x^2 - delta)^2 >= delta (x - sqrt delta)^2, so that N(sqrt delta, 1 / (2 delta)) is an envelope.
        """
        root, kept = math.sqrt(self.delta), torch.empty(0, dtype=torch.float64, device=generator.device)
        while len(kept) < count:
            shape = 4 * (count - len(kept)) + 16
            noise, log_u, sign = torch.rand(3, shape, generator=generator, device=kept.device, dtype=torch.float64)
            x = root + torch.special.ndtri(noise) / math.sqrt(2 * self.delta)
            log_ratio = self.delta * (x - root).square() - (x.square() - self.delta).square()
            accepted = (x >= 0) & (log_u.log() < log_ratio)
            kept = torch.cat([kept, torch.where(sign < 0.5, -x, x)[accepted]])
        return kept[:count]

    def _log_density(self, x: Tensor) -> Tensor:
        return self._log_density_and_score(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        wells, rest = x[:, : self.wells], x[:, self.wells :]
        height = wells.square() - self.delta
        log_density = -height.square().sum(-1) - 0.5 * rest.square().sum(-1)
        return log_density, torch.cat([-4 * height * wells, -rest], dim=-1)


def double_well_log_z(delta: float) -> float:
    """The logarithm of the integral of exp(-(x^2 - delta)^2) over the line, relative error below 1e-12.

    The trapezoidal rule converges geometrically for an entire integrand that decays on both sides.

    >>> round(double_well_log_z(4.0), 10)
    -0.1082111026
    """
    edge = math.sqrt(delta + 28)  # there the integrand is exp(-784), below the least double
    step = 1 / (16 * math.sqrt(8 * delta + 1))  # a sixteenth of the width of one well
    x = step * np.arange(-math.ceil(edge / step), math.ceil(edge / step) + 1)
    return math.log(step * np.exp(-((x**2 - delta) ** 2)).sum())
