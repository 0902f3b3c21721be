"""Exact samplers by goodness of fit: each p-value falls below 1e-6 by chance once in a million runs."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from gephyra.targets.affine import AffineView
from gephyra.targets.base import Target
from gephyra.targets.catalogue import gmm40
from gephyra.targets.funnel import Funnel
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from gephyra.targets.scaled import ScaledTarget
from gephyra.targets.seeds import Seeds
from gephyra.targets.student import StudentMixture
from gephyra.targets.wells import ManyWell
from tests.statistics import FALSE_ALARM_RATE, assert_mean_equals, gof_pvalue_1d

pytestmark = pytest.mark.statistical

Array = NDArray[np.float64]
Transform = Callable[[Array], Array]
COUNT = 20_000

COVARIANCE = np.array([[2.0, 0.8], [0.8, 1.0]])
MEANS, SCALES, WEIGHTS = np.array([[-2.0, 0.0], [1.0, 3.0]]), np.array([[0.5, 1.0], [1.5, 0.3]]), np.array([0.3, 0.7])
MIXTURE = GaussianMixture(MEANS, SCALES, WEIGHTS)
SHEAR = np.array([[2.0, 0.0], [1.0, -0.5]])


def well_cdf(delta: float) -> Transform:
    """Distribution function of the density exp(-(x^2 - delta)^2), by a cumulative sum on a fine grid."""
    grid = np.linspace(-5, 5, 200_001)
    mass = np.cumsum(np.exp(-((grid**2 - delta) ** 2)))
    return lambda x: np.interp(x, grid, mass / mass[-1])


def mixture_cdf(x: Array) -> Array:
    return np.asarray(stats.norm.cdf(x[:, None], MEANS[:, 1], SCALES[:, 1]) @ WEIGHTS)


# Per case: the target, a scalar function of its draws, and that scalar's distribution function.
CASES: Mapping[str, tuple[Target, Transform, Transform]] = {
    "gaussian, first coordinate": (Gaussian([1.0, -1.0], COVARIANCE), lambda x: x[:, 0], stats.norm(1, 2**0.5).cdf),
    "gaussian, a direction that sees the correlation": (
        Gaussian([1.0, -1.0], COVARIANCE),
        lambda x: x[:, 0] - x[:, 1],
        stats.norm(2, (2 + 1 - 1.6) ** 0.5).cdf,
    ),
    "diagonal gaussian": (Gaussian([0.0, 5.0], [1.0, 9.0]), lambda x: x[:, 1], stats.norm(5, 3).cdf),
    "mixture": (MIXTURE, lambda x: x[:, 1], mixture_cdf),
    "many-well, a well": (ManyWell(3, 2, 2.0), lambda x: x[:, 1], well_cdf(2.0)),
    "many-well, shallow": (ManyWell(1, 1, 0.1), lambda x: x[:, 0], well_cdf(0.1)),
    "many-well, the rest": (ManyWell(3, 2, 2.0), lambda x: x[:, 2], stats.norm.cdf),
    "funnel, its first": (Funnel(3, 3.0), lambda x: x[:, 0], stats.norm(0, 3).cdf),
    "funnel, given its first": (Funnel(3, 3.0), lambda x: x[:, 2] * np.exp(-x[:, 0] / 2), stats.norm.cdf),
    "student, heavy": (StudentMixture([[1.0]], 2.0), lambda x: x[:, 0], stats.t(2, loc=1).cdf),
    "student, light": (StudentMixture([[0.0]], 30.0), lambda x: x[:, 0], stats.t(30).cdf),
    "affine view": (
        AffineView(MIXTURE, [1.0, 2.0], SHEAR),
        lambda u: (u @ SHEAR.T + [1.0, 2.0])[:, 1],
        mixture_cdf,
    ),
    "multiple": (ScaledTarget(MIXTURE, 7.0), lambda x: x[:, 1], mixture_cdf),
}


def draws(target: Target, seed: int = 0) -> Array:
    drawn = target.sample(COUNT, torch.Generator().manual_seed(seed))
    assert drawn is not None
    assert drawn.dtype == torch.float64
    return drawn.numpy()


@pytest.mark.parametrize("case", CASES)
def test_draws_have_the_law(case: str) -> None:
    target, transform, cdf = CASES[case]
    assert gof_pvalue_1d(transform(draws(target)), cdf) > FALSE_ALARM_RATE


@pytest.mark.parametrize("case", ["gaussian, first coordinate", "mixture", "many-well, a well", "affine view"])
def test_expected_score_is_zero(case: str) -> None:
    """E[score] = 0 and E[x_i score_i] = -1 under the normalised density: ties draws to density in every coordinate."""
    target, _, _ = CASES[case]
    x = torch.from_numpy(draws(target, 1))
    _, score = target.log_density_and_score(x)
    assert_mean_equals(score.numpy(), 0.0)
    assert_mean_equals((x * score).numpy(), -1.0)


def test_a_wrong_law_would_be_noticed() -> None:
    """The same test on a law 10 % too wide: these checks can fail."""
    assert gof_pvalue_1d(draws(Gaussian([0.0], [1.1**2]))[:, 0], stats.norm.cdf) < FALSE_ALARM_RATE


def test_components_come_up_by_weight_and_without_dependence_on_coordinates() -> None:
    """40 far components in 50 dimensions: the nearest mean of each draw is uniform over them."""
    target = gmm40(50)
    x = torch.from_numpy(draws(target))
    means = target._means.master
    nearest = torch.cdist(x, means).argmin(1)
    counts = torch.bincount(nearest, minlength=40).numpy()
    assert stats.chisquare(counts).pvalue > FALSE_ALARM_RATE


def test_draws_depend_on_the_generator_alone() -> None:
    for target, _, _ in CASES.values():
        np.testing.assert_array_equal(draws(target, 5), draws(target, 5))
        assert (draws(target, 5) != draws(target, 6)).any()


def test_posteriors_have_no_exact_sampler() -> None:
    assert Seeds().sample(3, torch.Generator()) is None
    assert AffineView(Seeds(), np.zeros(26), np.ones(26)).sample(3, torch.Generator()) is None
