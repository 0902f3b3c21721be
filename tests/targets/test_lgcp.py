"""The log-Gaussian Cox process: how points are counted, and its integral, small and at full size."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor

from gephyra.targets.affine import AffineView
from gephyra.targets.base import Target
from gephyra.targets.lgcp import LogGaussianCox, cell_counts
from tests.statistics import standard_errors
from tests.support.datasets import table

Array = NDArray[np.float64]


def test_a_point_on_a_line_counts_above_it_and_the_upper_edge_counts_in_the_last_cell() -> None:
    corners = np.array([[0.0, 0.0], [0.25, 0.0], [0.2499999, 0.0], [1.0, 1.0], [0.75, 0.5], [0.0, 1.0], [0.0, 1.0]])
    counts = cell_counts(corners, 4)
    assert {cell: int(counts[cell]) for cell in zip(*counts.nonzero(), strict=True)} == {
        (0, 0): 2,
        (1, 0): 1,
        (3, 3): 1,
        (3, 2): 1,
        (0, 3): 2,
    }


def test_the_first_coordinate_of_a_point_is_the_row() -> None:
    target = LogGaussianCox([[0.9, 0.1]], 3)
    at = torch.zeros(1, 9, dtype=torch.float64)
    _, score = target.log_density_and_score(at + math.log(1.0) - 0.5 * 1.91)
    assert score[0].argmax() == 6
    assert target.constrain(torch.arange(9.0)[None])["log_intensity"][0, 2, 0] == 6


@pytest.mark.parametrize(
    ("given", "grid", "message"),
    [
        (np.zeros((0, 2)), 4, r"points must have shape \(n, 2\) with n at least 1, got \(0, 2\)"),
        (np.zeros((3, 3)), 4, r"points must have shape \(n, 2\)"),
        (np.array([[0.5, -0.1]]), 4, r"points must lie in the unit square, got -0.1 to 0.5"),
        (np.array([[0.5, np.nan]]), 4, "points must lie in the unit square"),
        (np.zeros((1, 2)), 0, "grid must be at least 1, got 0"),
    ],
)
def test_other_points_are_refused(given: Array, grid: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cell_counts(given, grid)


def test_small_grid_integrates_to_the_prior_mean_of_the_likelihood() -> None:
    """A sum over a lattice in four dimensions; at two cells a side the prior's correlations are below 1e-7."""
    target = LogGaussianCox([[0.1, 0.1], [0.2, 0.7], [0.3, 0.9]], 2)
    mean, sd = math.log(3) - 1.91 / 2, math.sqrt(1.91)
    axis = np.linspace(mean - 6 * sd, mean + 6 * sd, 31)
    x = np.stack(np.meshgrid(*[axis] * 4, indexing="ij"), -1).reshape(-1, 4)
    log_z = logsumexp(target.log_density(torch.from_numpy(x))) + 4 * math.log(axis[1] - axis[0])
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    f = mean + sd * nodes
    cells = [math.log(weights @ np.exp(count * f - np.exp(f) / 4) / weights.sum()) for count in (1, 2, 0, 0)]
    assert log_z == pytest.approx(sum(cells), abs=1e-6)


@dataclass(frozen=True)
class Fit:
    """The best normal approximation N(mean, factor factor^T) of the posterior of the pines, and its ELBO."""

    mean: Array
    factor: Array
    elbo: float


def best_normal(counts: Array, covariance: Array, mean: float) -> Fit:
    """By the stationarity of the ELBO: precision = K^-1 + diag(w), y - w = K^-1 (m - mu), w = a E exp(f).

    Every expectation is in closed form, so that nothing here is random.
    """
    precision, cells = np.linalg.inv(covariance), len(counts)
    m, w = np.full(cells, mean), np.full(cells, math.exp(mean) / cells)
    for _ in range(25):
        posterior = np.linalg.inv(precision + np.diag(w))
        m = m + posterior @ (counts - w - precision @ (m - mean))
        w = np.exp(m + 0.5 * posterior.diagonal()) / cells
    posterior = np.linalg.inv(precision + np.diag(w))
    log_dets = np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(posterior)[1]
    divergence = np.sum(precision * posterior) - cells + (m - mean) @ precision @ (m - mean) + log_dets
    return Fit(m, np.linalg.cholesky(posterior), float(counts @ m - w.sum() - 0.5 * divergence))


@pytest.mark.slow
@pytest.mark.statistical
def test_pines_against_the_reference_values() -> None:
    """The best normal approximation's ELBO is 498.80 and log Z is 501.78(3), both found by others on other code."""
    pines = table("pines")
    target = LogGaussianCox(pines)
    counts = np.histogram2d(pines[:, 0], pines[:, 1], bins=40, range=[[0, 1], [0, 1]])[0].ravel()
    cells = np.indices((40, 40)).reshape(2, -1).T
    covariance = 1.91 * np.exp(-np.linalg.norm(cells[:, None] - cells, axis=-1) * 33 / 40)
    fit = best_normal(counts, covariance, math.log(126) - 0.5 * 1.91)
    assert fit.elbo == pytest.approx(498.80, abs=0.006)

    shift = np.linalg.solve(covariance, fit.mean - math.log(126) + 0.5 * 1.91)
    quadratic = shift @ covariance @ shift + np.linalg.slogdet(2 * math.pi * covariance)[1]
    expected = counts @ fit.mean - np.exp(fit.mean).sum() / 1600 - 0.5 * quadratic
    assert float(target.log_density(torch.from_numpy(fit.mean)[None])) == pytest.approx(expected, abs=1e-6)

    log_weight = annealed(AffineView(target, fit.mean, fit.factor), 500, 40, torch.Generator().manual_seed(0))
    weight = (log_weight - log_weight.max()).exp()
    log_z = float(weight.mean().log() + log_weight.max())
    error = float(weight.std() / weight.mean()) / math.sqrt(len(weight))
    assert error < 0.06
    assert abs(log_z - 501.78) < standard_errors() * error + 0.03


def annealed(target: Target, count: int, stages: int, generator: torch.Generator) -> Tensor:
    """Log weights, (count,), of annealed importance sampling from a standard normal, one move of HMC a stage."""
    x = torch.randn(count, target.dim, generator=generator)
    log_weight = torch.zeros(count, dtype=torch.float64)
    for stage in range(1, stages + 1):
        log_gamma, score = target.log_density_and_score(x)
        log_weight += (log_gamma - _standard(x)) / stages
        x = _moved(target, x, (log_gamma, score), stage / stages, generator)
    return log_weight


def _moved(target: Target, x: Tensor, at: tuple[Tensor, Tensor], power: float, generator: torch.Generator) -> Tensor:
    """One move that leaves gamma^power times the standard normal to 1 - power invariant."""
    step = 0.35
    (log_gamma, score), p, y = at, torch.randn(x.shape, generator=generator), x
    energy = power * log_gamma + (1 - power) * _standard(x) + _standard(p)
    for _ in range(4):
        p = p + 0.5 * step * (power * score - (1 - power) * y)
        y = y + step * p
        log_gamma, score = target.log_density_and_score(y)
        p = p + 0.5 * step * (power * score - (1 - power) * y)
    gain = power * log_gamma + (1 - power) * _standard(y) + _standard(p) - energy
    accepted = torch.rand(len(x), generator=generator).log() < gain
    return torch.where(accepted[:, None], y, x)


def _standard(x: Tensor) -> Tensor:
    return -0.5 * x.double().square().sum(-1) - 0.5 * x.shape[1] * math.log(2 * math.pi)
