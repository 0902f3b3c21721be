"""Every catalogue density against an independent implementation in numpy and scipy, and the reference values."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.special import log_expit, logsumexp

from gephyra.targets.base import Target
from gephyra.targets.brownian import OBSERVATIONS, OBSERVED, Brownian
from gephyra.targets.catalogue import build, gmm40, student_mixture
from gephyra.targets.funnel import Funnel
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from gephyra.targets.lgcp import LogGaussianCox
from gephyra.targets.regression import LogisticRegression, standardised
from gephyra.targets.schools import EFFECTS, STANDARD_ERRORS, EightSchools, EightSchoolsNonCentred
from gephyra.targets.seeds import ROWS, Seeds
from gephyra.targets.student import StudentMixture
from gephyra.targets.wells import ManyWell

Point = NDArray[np.float64]

RNG = np.random.default_rng(7)
ROOT = RNG.normal(size=(3, 3))
MEAN, COVARIANCE = RNG.normal(size=3), ROOT @ ROOT.T + np.eye(3)
MEANS, SCALES, WEIGHTS = RNG.normal(size=(4, 2)), RNG.uniform(0.5, 2, size=(4, 2)), np.array([0.1, 0.2, 0.3, 0.4])
FEATURES, LABELS = RNG.normal(size=(30, 4)), RNG.integers(0, 2, size=30)
POINTS = RNG.uniform(size=(30, 2))


def gaussian(x: Point) -> float:
    return float(stats.multivariate_normal(MEAN, COVARIANCE).logpdf(x))


def diagonal(x: Point) -> float:
    return float(stats.norm.logpdf(x, MEAN, [1.0, 2.0, 3.0]).sum())


def mixture(x: Point) -> float:
    return float(logsumexp(stats.norm.logpdf(x, MEANS, SCALES).sum(1), b=WEIGHTS))


def students(x: Point) -> float:
    return float(logsumexp(stats.t.logpdf(x, 3.5, loc=MEANS).sum(1), b=1 / 4))


def funnel(x: Point) -> float:
    return float(stats.norm.logpdf(x[0], 0, 3) + stats.norm.logpdf(x[1:], 0, np.exp(x[0] / 2)).sum())


def many_well(x: Point) -> float:
    return float(-((x[:2] ** 2 - 3.0) ** 2).sum() - 0.5 * (x[2:] ** 2).sum())


def regression(x: Point) -> float:
    p_one = log_expit(np.column_stack([np.ones(30), FEATURES]) @ x)
    p_zero = log_expit(-np.column_stack([np.ones(30), FEATURES]) @ x)
    return float(np.where(LABELS == 1, p_one, p_zero).sum() + stats.norm.logpdf(x, 0, 2.5).sum())


def lgcp(x: Point) -> float:
    cells = np.stack(np.meshgrid(np.arange(12), np.arange(12), indexing="ij"), -1).reshape(-1, 2)
    covariance = 1.91 * np.exp(-np.linalg.norm(cells[:, None] - cells, axis=-1) * 33 / 12)
    counts = np.histogram2d(POINTS[:, 0], POINTS[:, 1], bins=12, range=[[0, 1], [0, 1]])[0].ravel()
    prior = stats.multivariate_normal(np.full(144, np.log(30) - 1.91 / 2), covariance).logpdf(x)
    return float(prior + counts @ x - np.exp(x).sum() / 144)


def seeds(x: Point) -> float:
    (a_0, a_1, a_12, a_2), b, tau = x[:4], x[4:25], np.exp(x[25])
    r, n, x1, x2 = np.array(ROWS).T
    logit = a_0 + a_1 * x1 + a_2 * x2 + a_12 * x1 * x2 + b
    prior = stats.norm.logpdf(x[:4], 0, 10).sum() + stats.norm.logpdf(b, 0, tau**-0.5).sum()
    tau_prior = stats.gamma.logpdf(tau, 0.01, scale=100) + x[25]
    return float(prior + tau_prior + stats.binom.logpmf(r, n, 1 / (1 + np.exp(-logit))).sum())


def brownian(x: Point) -> float:
    innovation, observation = scales = np.log1p(np.exp(x[:2]))
    path = x[2:]
    prior = stats.lognorm.logpdf(scales, 2.0).sum() + log_expit(x[:2]).sum()
    steps = stats.norm.logpdf(path, np.r_[0.0, path[:-1]], innovation).sum()
    return float(prior + steps + stats.norm.logpdf(OBSERVATIONS, path[list(OBSERVED)], observation).sum())


def schools(x: Point) -> float:
    mu, log_tau, theta = x[0], x[1], x[2:]
    prior = stats.norm.logpdf(mu, 0, 10) + stats.norm.logpdf(log_tau, 5, 1)
    effects = stats.norm.logpdf(theta, mu, np.exp(log_tau)).sum()
    return float(prior + effects + stats.norm.logpdf(EFFECTS, theta, STANDARD_ERRORS).sum())


def schools_non_centred(x: Point) -> float:
    mu, tau, raw = x[0], np.exp(x[1]), x[2:]
    prior = stats.norm.logpdf(mu, 0, 5) + stats.halfcauchy.logpdf(tau, 0, 5) + x[1] + stats.norm.logpdf(raw).sum()
    return float(prior + stats.norm.logpdf(EFFECTS, mu + tau * raw, STANDARD_ERRORS).sum())


CASES: Mapping[str, tuple[Target, Callable[[Point], float]]] = {
    "gaussian": (Gaussian(MEAN, COVARIANCE), gaussian),
    "gaussian diagonal": (Gaussian(MEAN, [1.0, 4.0, 9.0]), diagonal),
    "gaussian mixture": (GaussianMixture(MEANS, SCALES, 3 * WEIGHTS), mixture),
    "student mixture": (StudentMixture(MEANS, 3.5), students),
    "funnel": (Funnel(5), funnel),
    "many-well": (ManyWell(5, 2, 3.0), many_well),
    "logistic regression": (LogisticRegression(FEATURES, LABELS, 2.5), regression),
    "lgcp": (LogGaussianCox(POINTS, 12), lgcp),
    "seeds": (Seeds(), seeds),
    "brownian": (Brownian(), brownian),
    "eight schools": (EightSchools(), schools),
    "eight schools non-centred": (EightSchoolsNonCentred(), schools_non_centred),
}


@pytest.mark.parametrize("case", CASES)
def test_log_density_equals_independent_implementation(case: str) -> None:
    target, reference = CASES[case]
    x = np.random.default_rng(0).normal(size=(20, target.dim)) * np.linspace(0.3, 3, 20)[:, None]
    expected = [reference(point) for point in x]
    np.testing.assert_allclose(target.log_density(torch.from_numpy(x)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_single_precision_is_close_to_double(case: str) -> None:
    target, reference = CASES[case]
    x = np.random.default_rng(1).normal(size=(20, target.dim)).astype(np.float32)
    log_density, score = target.log_density_and_score(torch.from_numpy(x))
    assert log_density.dtype == score.dtype == torch.float32
    expected = np.array([reference(point.astype(np.float64)) for point in x])
    np.testing.assert_allclose(log_density, expected, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_log_density_and_score_agree_with_autograd_twice(case: str) -> None:
    """Score = gradient, and the score's own gradient exists: the reparametrised loss needs it."""
    target, _ = CASES[case]
    x = torch.randn(3, target.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(target.log_density(x).sum(), x)
    _, score = target.log_density_and_score(x)
    torch.testing.assert_close(score, gradient)
    (of_density,) = torch.autograd.grad(target.log_density_and_score(x)[1].square().sum(), x)
    step = 1e-6 * torch.ones_like(x)
    above, below = (target.log_density_and_score((x + sign * step).detach())[1].square().sum(-1) for sign in (1, -1))
    torch.testing.assert_close(of_density.sum(-1), (above - below) / 2e-6, rtol=1e-5, atol=1e-4)


def test_reference_values_at_stated_points() -> None:
    """Values that three other implementations of each model gave, to the digits they printed."""
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 26)))
    zero = torch.zeros(1, 26, dtype=torch.float64)
    expected = [-124.6711, -310.0651, -256.6002, -288.0913]
    np.testing.assert_allclose(Seeds().log_density(torch.cat([zero, x])), expected, atol=1.1e-4)
    at_zero = Brownian().log_density(torch.zeros(1, 32, dtype=torch.float64))
    assert float(at_zero) == pytest.approx(-38.1438, abs=1e-4)


def test_tables_are_the_published_ones() -> None:
    """Two entries of each table of means, and its shape; the tail of the mixture is where a wrong sd would show."""
    first = build("gmm40", {"dim": 2})
    assert isinstance(first, GaussianMixture)
    at_mean = first.log_density(torch.tensor([[-15.758228, 18.116531]], dtype=torch.float64))
    assert float(at_mean) == pytest.approx(-np.log(40) - np.log(2 * np.pi), abs=0.02)
    assert (gmm40(50).dim, student_mixture().dim) == (50, 50)
    centre = torch.from_numpy(np.full((1, 50), 100.0))
    assert float(student_mixture().log_density(centre)) < -300


def test_standardised_columns_have_population_sd_one_and_constants_become_zero() -> None:
    features = np.column_stack([FEATURES, np.full(30, 4.0)])
    result = standardised(features).numpy()
    np.testing.assert_allclose(result.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(result.std(0), [1, 1, 1, 1, 0], atol=1e-12)


def test_infinite_prior_scale_leaves_the_likelihood() -> None:
    flat = LogisticRegression(FEATURES, LABELS, float("inf"), intercept=False)
    x = torch.zeros(1, 4, dtype=torch.float64)
    assert float(flat.log_density(x)) == pytest.approx(-30 * np.log(2))


def test_densities_stay_free_of_nan_far_out() -> None:
    """At b = 0 a huge precision multiplies zero: -inf or finite, never NaN, in single precision."""
    for target, _ in CASES.values():
        far = 120 * torch.eye(target.dim)
        log_density = target.log_density(torch.cat([far, -far]))
        assert not log_density.isnan().any(), target
        assert (log_density < torch.inf).all(), target
