"""Metrics against values known in closed form, and their floors against chance."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmarks.metrics import (
    CovarianceDistance,
    Floor,
    MaximumMeanDiscrepancy,
    MeanDistance,
    MeanError,
    Metric,
    ModeCoverage,
    ModeVariation,
    NotConverged,
    SinkhornDivergence,
    SlicedWasserstein,
    SpreadError,
    exact_sampler,
    floor,
    nearest,
    signs,
)
from gephyra.targets.brownian import Brownian
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from gephyra.targets.wells import ManyWell
from tests.statistics import FALSE_ALARM_RATE, assert_mean_equals, standard_errors

Array = NDArray[np.float64]
NORMAL = exact_sampler(Gaussian(np.zeros(3), np.ones(3)), seed=0)
SHIFT = np.array([2.0, -1.0, 0.5])
SINKHORN = SinkhornDivergence.relative(NORMAL(400, 1000))
MMD = MaximumMeanDiscrepancy.median(NORMAL(400, 1000))
CENTRES = np.array([[-5.0, 0.0], [5.0, 0.0], [0.0, 5.0], [0.0, -5.0]])


def test_scales_are_the_stated_medians() -> None:
    """The squared distance of two standard normals is 2 chi^2(3)."""
    median = 2 * stats.chi2(3).median()
    reference = NORMAL(1500, 7)
    assert SinkhornDivergence.relative(reference, 0.25).epsilon == pytest.approx(0.25 * median, rel=0.05)
    assert MaximumMeanDiscrepancy.median(reference).bandwidth == pytest.approx(math.sqrt(median), rel=0.025)


def test_sinkhorn_of_a_shifted_copy_is_the_squared_shift() -> None:
    """|x_i + s - x_j|^2 is |x_i - x_j|^2 + |s|^2 and terms of i or j alone that cancel: for any epsilon."""
    x = NORMAL(150, 0)
    for epsilon in (1.0, 10.0):
        divergence = SinkhornDivergence(epsilon, tolerance=1e-7)
        assert divergence(x + SHIFT, x) == pytest.approx(SHIFT @ SHIFT, rel=1e-5)
        assert divergence(x, x) == pytest.approx(0, abs=1e-6)


def test_sinkhorn_weighs_sets_of_different_size_alike() -> None:
    x = NORMAL(60, 0)
    divergence = SinkhornDivergence(2.0, tolerance=1e-7)
    assert divergence(np.concatenate([x, x]), x) == pytest.approx(0, abs=1e-5)


def test_sinkhorn_of_single_points_is_their_squared_distance() -> None:
    assert SinkhornDivergence(0.5)(np.array([[0.0, 3.0]]), np.array([[4.0, 0.0]])) == pytest.approx(25)


@pytest.mark.statistical
def test_sinkhorn_of_two_normals_is_the_squared_distance_of_their_means_above_the_floor() -> None:
    """Beyond the floor, the noise is that of |shift + difference of the two sample means|^2."""
    n, repeats = 300, 6
    low = floor(SINKHORN, NORMAL, n, repeats)
    value = SINKHORN(NORMAL(n, 500) + SHIFT, NORMAL(n, 501))
    error = math.sqrt(4 * (SHIFT @ SHIFT) * 2 / n + low.sd**2 * (1 + 1 / repeats))
    assert abs(value - SHIFT @ SHIFT - low.mean) < standard_errors() * error
    assert low.mean < 0.25 * floor(SINKHORN, NORMAL, n // 10, repeats).mean


def test_sinkhorn_says_when_it_has_not_converged() -> None:
    with pytest.raises(NotConverged, match=r"off by .* after 10 steps, wanted .*: take a larger epsilon than 0\.001"):
        SinkhornDivergence(1e-3, iterations=10)(NORMAL(50, 0), NORMAL(50, 1) + SHIFT)


@pytest.mark.statistical
def test_mmd_is_unbiased() -> None:
    """Mean 0 for equal laws; after a shift by s, E k(x, y) = (h^2 / v)^(dim / 2) exp(-|s|^2 / (2 v)), v = h^2 + 2."""
    equal = [MMD(NORMAL(30, 2 * i), NORMAL(25, 2 * i + 1)) for i in range(400)]
    assert_mean_equals(equal, 0.0)
    assert min(equal) < 0
    variance = MMD.bandwidth**2 + 2
    expected = 2 * (MMD.bandwidth**2 / variance) ** 1.5 * -math.expm1(-SHIFT @ SHIFT / (2 * variance))
    assert_mean_equals([MMD(NORMAL(30, 2 * i) + SHIFT, NORMAL(25, 2 * i + 1)) for i in range(400)], expected)


def test_coverage_is_one_for_equal_shares_and_zero_for_one_mode() -> None:
    coverage = ModeCoverage(nearest(CENTRES), 4)
    assert coverage(np.repeat(CENTRES, 10, axis=0), CENTRES) == pytest.approx(1)
    assert coverage(CENTRES[[2, 2, 2]] + 0.1, CENTRES) == 0
    assert coverage(CENTRES[[0, 1, 1, 0]], CENTRES) == pytest.approx(0.5)


def test_variation_of_masses() -> None:
    masses = np.array([0.5, 0.25, 0.125, 0.125])
    variation = ModeVariation(nearest(CENTRES), masses)
    assert variation(CENTRES[[0, 0, 0, 0, 1, 1, 2, 3]], CENTRES) == 0
    assert variation(CENTRES[[0, 0]], CENTRES) == pytest.approx(0.5)
    assert variation(CENTRES[[3]], CENTRES) == pytest.approx(0.875)


@pytest.mark.statistical
def test_exact_draws_have_the_masses_of_their_modes() -> None:
    """Pearson's test on the counts of each mode: 2^3 wells of equal mass, and a mixture with weights."""
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    cases = [
        (ManyWell(4, 3, 4.0), signs(3), np.full(8, 1 / 8)),
        (GaussianMixture(CENTRES, 0.5, weights), nearest(CENTRES), weights),
    ]
    for target, assign, masses in cases:
        draws = exact_sampler(target, seed=3)(4000, 0)
        counts = np.bincount(assign(draws), minlength=len(masses))
        assert stats.chisquare(counts, 4000 * masses).pvalue > FALSE_ALARM_RATE


def test_moment_errors_are_in_units_of_the_target() -> None:
    x, sd = NORMAL(50, 0), np.array([1.0, 2.0, 4.0])
    assert MeanError(sd)(x + sd, x) == pytest.approx(1)
    assert MeanError(sd)(x + np.array([0.0, 0.0, 4.0]), x) == pytest.approx(math.sqrt(1 / 3))
    assert SpreadError(x.std(0, ddof=1))(3 * x + 1, x) == pytest.approx(2)
    assert SpreadError(sd)(x + 7, x) == pytest.approx(0, abs=1e-12)


@pytest.mark.statistical
def test_floor_of_the_mean_error_is_that_of_two_means() -> None:
    """n / 2 times its square is a mean of three chi^2(1)."""
    n, repeats = 40, 300
    low = floor(MeanError(np.ones(3)), NORMAL, n, repeats)
    assert (low.n, low.repeats) == (n, repeats)
    law = stats.chi(3, scale=math.sqrt(2 / n / 3))
    assert abs(low.mean - law.mean()) < standard_errors() * law.std() / math.sqrt(repeats)
    # Var of a sample variance: (kurtosis - 1) sigma^4 / repeats; chi(3) has excess kurtosis 0.11.
    assert abs(low.sd**2 / law.var() - 1) < standard_errors() * math.sqrt(2.11 / repeats)


@pytest.mark.parametrize(
    "metric",
    [SINKHORN, MMD, MeanError(np.ones(3)), SpreadError(np.ones(3)), ModeVariation(signs(3), np.full(8, 1 / 8))],
    ids=lambda metric: type(metric).__name__,
)
def test_a_wrong_law_is_far_above_every_floor(metric: Metric) -> None:
    def wrong(x: Array) -> Array:
        return 1.7 * x + 0.6

    low = floor(metric, NORMAL, 150, 5)
    assert metric(wrong(NORMAL(150, 900)), NORMAL(150, 901)) > low.mean + 5 * low.sd


def test_a_floor_needs_two_repeats_and_an_exact_sampler() -> None:
    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: floor(MMD, NORMAL, 10, 1), "repeats must be at least 2, got 1"),
        (lambda: exact_sampler(Brownian(), 0), "Brownian has no exact sampler"),
    ]
    for call, message in refusals:
        with pytest.raises(ValueError, match=message):
            call()


def test_exact_draws_depend_on_seed_and_counter_alone() -> None:
    again = exact_sampler(Gaussian(np.zeros(3), np.ones(3)), seed=0)
    np.testing.assert_array_equal(again(5, 2), NORMAL(5, 2))
    assert not np.allclose(again(5, 3), NORMAL(5, 2))
    assert floor(MMD, NORMAL, 10, 2) == floor(MMD, again, 10, 2)
    assert isinstance(floor(MMD, NORMAL, 10, 2), Floor)


def test_distances_of_moments() -> None:
    x = NORMAL(200, 0)
    assert MeanDistance()(x + SHIFT, x) == pytest.approx(np.linalg.norm(SHIFT))
    assert CovarianceDistance()(x + SHIFT, x) == pytest.approx(0, abs=1e-12)
    assert CovarianceDistance()(2 * x, x) == pytest.approx(3 * np.linalg.norm(np.cov(x, rowvar=False)))


def test_sliced_wasserstein_of_a_shifted_copy_is_the_mean_projection_of_the_shift() -> None:
    """In three dimensions half its norm; on random directions, whose |cosine| has variance 1 / 12, up to chance."""
    x, directions = NORMAL(50, 0), 4000
    error = standard_errors() * math.sqrt(1 / 12 / directions)
    found = SlicedWasserstein(directions)(x + SHIFT, x) / np.linalg.norm(SHIFT)
    assert found == pytest.approx(0.5, abs=error)
    assert SlicedWasserstein(directions)(x, x[::-1]) == pytest.approx(0, abs=1e-12)
