"""log Z of every target that claims one, by quadrature or importance sampling that knows nothing of its code."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import integrate, stats
from scipy.special import gammaln, log_expit, logsumexp

from gephyra.targets.affine import AffineView
from gephyra.targets.base import Target
from gephyra.targets.brownian import OBSERVATIONS, OBSERVED, Brownian
from gephyra.targets.funnel import Funnel
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from gephyra.targets.schools import EFFECTS, STANDARD_ERRORS, EightSchools, EightSchoolsNonCentred
from gephyra.targets.seeds import ROWS, Seeds
from gephyra.targets.student import StudentMixture
from gephyra.targets.wells import ManyWell, double_well_log_z
from tests.statistics import standard_errors

Array = NDArray[np.float64]
MIXTURE = GaussianMixture([[-1.0, 0.5], [2.0, -1.0]], [[0.5, 1.0], [1.0, 0.7]], [1.0, 2.0])


def trapezoid(log_density: Array, *grids: Array) -> float:
    """Log of the integral of exp(log_density) given on the product of evenly spaced grids."""
    return float(logsumexp(log_density) + sum(math.log(grid[1] - grid[0]) for grid in grids))


@pytest.mark.parametrize(
    "target",
    [
        Gaussian([1.0, -2.0], [[2.0, 0.6], [0.6, 1.0]]),
        MIXTURE,
        AffineView(MIXTURE, [1.0, 0.5], [[2.0, 0.0], [1.0, -0.8]]),
    ],
    ids=["gaussian", "mixture", "affine view of a mixture"],
)
def test_two_dimensional_targets_integrate_to_z(target: Target) -> None:
    grid = np.linspace(-16, 16, 801)
    x = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    log_density = target.log_density(torch.from_numpy(x)).numpy()
    assert trapezoid(log_density, grid, grid) == pytest.approx(target.log_z, abs=1e-9)


def test_heavy_tails_integrate_to_z() -> None:
    target = StudentMixture([[0.0], [3.0]], df=2.0)
    total, _ = integrate.quad(
        lambda x: math.exp(float(target.log_density(torch.tensor([[x]], dtype=torch.float64)))), -np.inf, np.inf
    )
    assert math.log(total) == pytest.approx(0.0, abs=1e-7)


def test_funnel_integrates_to_z() -> None:
    """Over x_1 with x_1 = exp(x_0 / 2) v, so that one grid fits the neck and the mouth."""
    x_0, v = np.linspace(-10, 10, 401), np.linspace(-10, 10, 401)
    grid = np.stack(np.meshgrid(x_0, v, indexing="ij"), axis=-1).reshape(-1, 2)
    x = np.column_stack([grid[:, 0], np.exp(grid[:, 0] / 2) * grid[:, 1]])
    log_density = Funnel(2, 1.0).log_density(torch.from_numpy(x)).numpy() + grid[:, 0] / 2
    assert trapezoid(log_density, x_0, v) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("delta", [0.1, 1.0, 2.0, 4.0, 37.0, 1000.0])
def test_double_well_against_adaptive_quadrature(delta: float) -> None:
    width = 8 / math.sqrt(8 * delta)
    edges = (max(0.0, math.sqrt(delta) - width), math.sqrt(delta) + width + 2)
    total, _ = integrate.quad(lambda x: math.exp(-((x * x - delta) ** 2)), *edges, epsabs=0, epsrel=1e-12, limit=200)
    rest, _ = integrate.quad(lambda x: math.exp(-((x * x - delta) ** 2)), 0, edges[0]) if edges[0] else (0.0, 0.0)
    assert double_well_log_z(delta) == pytest.approx(math.log(2 * (total + rest)), abs=1e-11)


def test_many_well_reference_values() -> None:
    """To the digits of the published quadratures."""
    values = {(5, 5, 4.0): -0.5410555, (5, 5, 2.0): 1.4650087, (50, 5, 2.0): 42.8172427, (50, 5, 4.0): 40.8111785}
    for (dim, wells, delta), expected in values.items():
        assert ManyWell(dim, wells, delta).log_z == pytest.approx(expected, abs=5e-8)


def test_eight_schools_by_marginalising_mu_and_theta() -> None:
    """Given tau the effects are normal: covariance diag(s^2 + tau^2) + 100; a sum over log tau is left."""
    log_tau = np.linspace(-20, 20, 1001)
    errors = np.array(STANDARD_ERRORS)
    log_likelihood = [
        stats.multivariate_normal(np.zeros(8), np.diag(errors**2 + math.exp(2 * z)) + 100).logpdf(EFFECTS)
        for z in log_tau
    ]
    log_z = trapezoid(np.array(log_likelihood) + stats.norm.logpdf(log_tau, 5, 1), log_tau)
    assert log_z == pytest.approx(EightSchools.log_z, abs=1e-6)


def test_non_centred_eight_schools_by_marginalising_mu_and_theta() -> None:
    log_tau = np.linspace(-25, 25, 1501)
    errors, tau = np.array(STANDARD_ERRORS), np.exp(log_tau)
    log_likelihood = [
        stats.multivariate_normal(np.zeros(8), np.diag(errors**2 + t**2) + 25).logpdf(EFFECTS) for t in tau
    ]
    log_prior = stats.halfcauchy.logpdf(tau, 0, 5) + log_tau
    log_z = trapezoid(np.array(log_likelihood) + log_prior, log_tau)
    assert log_z == pytest.approx(EightSchoolsNonCentred.log_z, abs=2e-5)


def test_brownian_by_marginalising_the_path() -> None:
    """Given both scales the observations are normal with covariance innovation^2 min(s, t) + observation^2 1(s = t)."""
    times = np.array(OBSERVED) + 1.0
    vectors = np.minimum.outer(times, times)
    values, basis = np.linalg.eigh(vectors)
    rotated = basis.T @ np.array(OBSERVATIONS)
    grid = np.linspace(-12, 8, 501)
    innovation, observation = np.meshgrid(np.log1p(np.exp(grid)), np.log1p(np.exp(grid)), indexing="ij")
    variances = innovation[..., None] ** 2 * values + observation[..., None] ** 2
    log_likelihood = stats.norm.logpdf(rotated, 0, np.sqrt(variances)).sum(-1)
    prior = stats.lognorm.logpdf(np.log1p(np.exp(grid)), 2.0) + log_expit(grid)
    log_z = trapezoid(log_likelihood + prior[:, None] + prior, grid, grid)
    assert log_z == pytest.approx(Brownian.log_z, abs=1e-6)


def seeds_marginal(points: Array) -> Array:
    """Log density of (a_0, a_1, a_12, a_2, log tau), the 21 effects integrated out by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    r, n, x1, x2 = np.array(ROWS, dtype=float).T
    fixed = points[:, :4] @ np.stack([np.ones(21), x1, x1 * x2, x2])
    logit = fixed[..., None] + np.exp(-0.5 * points[:, 4])[:, None, None] * nodes
    binomial = (gammaln(n + 1) - gammaln(r + 1) - gammaln(n - r + 1))[:, None]
    terms = binomial + r[:, None] * log_expit(logit) + (n - r)[:, None] * log_expit(-logit)
    log_likelihood = logsumexp(terms, b=weights / weights.sum(), axis=-1).sum(-1)
    prior = stats.norm.logpdf(points[:, :4], 0, 10).sum(-1)
    return np.asarray(log_likelihood + prior + stats.gamma.logpdf(np.exp(points[:, 4]), 0.01, scale=100) + points[:, 4])


@pytest.mark.statistical
def test_seeds_by_importance_sampling_of_its_marginal() -> None:
    """A t proposal in five dimensions, fitted in two rounds to its own weighted draws."""
    rng = np.random.default_rng(3)
    mean, scale = np.array([-0.5, 0.1, -0.8, 1.3, 2.5]), np.diag([0.1, 0.2, 0.4, 0.2, 3.0])
    for count in (1000, 2000, 8_000):
        proposal = stats.multivariate_t(mean, scale, df=5, seed=rng)
        draws = proposal.rvs(count)
        log_weight = seeds_marginal(draws) - proposal.logpdf(draws)
        weight = np.exp(log_weight - log_weight.max())
        mean = np.average(draws, axis=0, weights=weight)
        scale = np.cov(draws.T, aweights=weight)
    log_z = math.log(weight.mean()) + log_weight.max()
    error = weight.std() / weight.mean() / math.sqrt(len(weight))
    assert error < 0.03
    assert abs(log_z - Seeds.log_z) < standard_errors() * error + 0.002
