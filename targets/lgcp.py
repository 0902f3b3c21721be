"""Log-Gaussian Cox process: points in the unit square, counted on a grid x grid lattice of cells (Moller et al. 1998).

    f ~ N(mu 1, K),  K_mn = v exp(-|m - n| / (grid beta)),  v = 1.91, beta = 1/33, m and n integer cell indices,
    gamma(f) = N(f; mu 1, K) exp(sum_m [f_m y_m - a exp(f_m)]),  a = 1 / grid^2, mu = log(number of points) - v / 2,

so that the prior expects as many points as there are. The terms log y_m! of the Poisson law are left out, as in the
sampling literature. A point lies in cell (floor(grid p_1), floor(grid p_2)), index grid * first + second; the upper
edge of the square belongs to the last cell. Coordinates are f itself, not whitened.
"""

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .base import Target
from .constant import Constant
from .gaussian import LOG_SQRT_2PI
from .program import Site

__all__ = ["LogGaussianCox", "cell_counts"]

_VARIANCE = 1.91
_LENGTH = 1 / 33


class LogGaussianCox(Target):
    """The posterior of the log intensity in every cell, grid^2-dimensional; score by one product with K^-1."""

    def __init__(self, points: ArrayLike | Tensor, grid: int = 40) -> None:
        """Count the points and invert the prior's covariance in double precision; cubic in grid^2.

        Args:
            points: n x 2, n at least 1, in the unit square.
            grid: Cells a side, at least 1.

        Raises:
            ValueError: For other shapes or values.
        """
        counts = cell_counts(Constant(points).master.numpy(), grid)
        self.dim = counts.size
        self.sites = (Site("log_intensity", (grid, grid)),)
        self._counts, self._area = Constant(counts.ravel()), 1 / self.dim
        self._mean = math.log(counts.sum()) - 0.5 * _VARIANCE
        factor = torch.linalg.cholesky(_covariance(grid))
        self._precision = Constant(torch.cholesky_inverse(factor))
        self._constant = -float(factor.diagonal().log().sum()) - self.dim * LOG_SQRT_2PI

    def _log_density(self, x: Tensor) -> Tensor:
        return self._log_density_and_score(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        counts, centred = self._counts.like(x), x - self._mean
        pull, expected = centred @ self._precision.like(x), self._area * x.exp()
        likelihood = x @ counts - expected.sum(-1)
        return self._constant - 0.5 * (centred * pull).sum(-1) + likelihood, counts - expected - pull

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        return {site.name: x.reshape(len(x), *site.shape) for site in self.sites}


def cell_counts(points: NDArray[np.float64], grid: int) -> NDArray[np.int64]:
    """How many of the points, n x 2 in the unit square, lie in each cell, grid x grid; row = first coordinate.

    Raises:
        ValueError: For other shapes, no points, points outside the square, or fewer than one cell a side.

    >>> cell_counts(np.array([[0.1, 0.9], [1.0, 0.0]]), 2)
    array([[0, 1],
           [1, 0]])
    """
    if grid < 1:
        raise ValueError(f"grid must be at least 1, got {grid}")
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"points must have shape (n, 2) with n at least 1, got {points.shape}")
    if not ((points >= 0) & (points <= 1)).all():  # NaN fails too
        raise ValueError(f"points must lie in the unit square, got {points.min()} to {points.max()}")
    cells = np.minimum(np.floor(points * grid).astype(np.int64), grid - 1)
    return np.bincount(cells @ (grid, 1), minlength=grid**2).reshape(grid, grid)


def _covariance(grid: int) -> Tensor:
    """K, `grid^2 x grid^2`."""
    axis = torch.arange(grid, dtype=torch.float64)
    cells = torch.cartesian_prod(axis, axis).reshape(-1, 2)
    # Pair by pair: the expansion of the square would not give exact zeros on the diagonal.
    distance = torch.cdist(cells, cells, compute_mode="donot_use_mm_for_euclid_dist")
    return _VARIANCE * (-distance / (grid * _LENGTH)).exp()
