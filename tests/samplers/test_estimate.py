"""Estimators against closed forms and against ArviZ."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from gephyra.samplers.estimate import Estimates, estimate, k_hat, log_mean_exp
from tests.statistics import FALSE_ALARM_RATE, assert_mean_equals

LOG_WEIGHTS = hnp.arrays(np.float64, st.integers(2, 200), elements=st.floats(-700, 700))


@given(LOG_WEIGHTS, st.floats(-1e4, 1e4))
def test_a_constant_shifts_log_z_and_elbo_and_nothing_else(values: np.ndarray, shift: float) -> None:
    before, after = estimate(torch.from_numpy(values)), estimate(torch.from_numpy(values + shift))
    assert after.log_z == pytest.approx(before.log_z + shift, abs=1e-8)
    assert after.elbo == pytest.approx(before.elbo + shift, abs=1e-8)
    assert after.ess_fraction == pytest.approx(before.ess_fraction, rel=1e-6)


@given(LOG_WEIGHTS)
def test_elbo_is_at_most_log_z_and_ess_at_most_one(values: np.ndarray) -> None:
    result = estimate(torch.from_numpy(values))
    assert result.elbo <= result.log_z + 1e-9
    assert 1 / len(values) - 1e-12 <= result.ess_fraction <= 1 + 1e-12
    assert result.log_z_low <= result.log_z <= (math.inf if result.log_z_high is None else result.log_z_high)


def test_lost_paths_count_as_weight_zero() -> None:
    weights = torch.tensor([1.0, 3.0, 0.0, 0.0], dtype=torch.float64)
    result = estimate(weights.log())
    assert result.log_z == pytest.approx(0.0)
    assert result.ess_fraction == pytest.approx(16 / (4 * 10))
    assert result.elbo == pytest.approx(0.5 * math.log(3.0))


def test_nothing_finite_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 2 paths"):
        estimate(torch.full((10,), -torch.inf, dtype=torch.float64))


@pytest.mark.statistical
def test_standard_error_of_log_z() -> None:
    """Over 400 samples of log-normal weights the squared error over its squared standard error averages to one."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(400):
        result = estimate(torch.from_numpy(rng.normal(-0.125, 0.5, 4000)))
        ratios.append((result.log_z / result.log_z_se) ** 2)
    assert_mean_equals(ratios, 1.0)


def holds(result: Estimates, log_z: float) -> bool:
    high = math.inf if result.log_z_high is None else result.log_z_high
    return result.log_z_low <= log_z <= high


@pytest.mark.statistical
@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_the_interval_of_tame_weights_covers_as_often_as_it_says(sigma: float) -> None:
    """Log-normal weights: 95 %, up to what 500 samples can tell at the suite's rate."""
    rng = np.random.default_rng(2)
    covered = sum(holds(estimate(torch.from_numpy(rng.normal(-0.5 * sigma**2, sigma, 2048))), 0.0) for _ in range(500))
    low, high = stats.binom.ppf([FALSE_ALARM_RATE / 2, 1 - FALSE_ALARM_RATE / 2], 500, 0.95)
    assert low <= covered <= high


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("pareto 0.65", lambda rng: np.log(rng.pareto(1 / 0.65, 4096) * (1 / 0.65 - 1))),
        ("pareto 0.8", lambda rng: np.log(rng.pareto(1 / 0.8, 4096) * (1 / 0.8 - 1))),
        ("log-normal 2.5", lambda rng: rng.normal(-0.5 * 2.5**2, 2.5, 4096)),
    ],
)
def test_the_interval_of_heavy_weights_covers_too(name: str, draw: Callable[[np.random.Generator], np.ndarray]) -> None:
    """Not fewer than 90 %, up to what 300 samples can tell; the delta method has 66 to 87 % on such weights."""
    rng = np.random.default_rng(3)
    covered = sum(holds(estimate(torch.from_numpy(draw(rng))), 0.0) for _ in range(300))
    assert covered >= stats.binom.ppf(FALSE_ALARM_RATE, 300, 0.90), name


def test_weights_without_a_mean_are_never_vouched_for() -> None:
    """Pareto weights of shape 1.3: no log Z exists, and no interval claims to hold it."""
    rng = np.random.default_rng(4)
    results = [estimate(torch.from_numpy(np.log(rng.pareto(1 / 1.3, 4096)))) for _ in range(50)]
    assert not any(result.interval_holds for result in results)
    assert all(result.log_z_high is None for result in results)


def test_an_interval_is_never_narrower_than_rounding() -> None:
    result = estimate(torch.full((1000,), -2.0, dtype=torch.float64))
    assert result.log_z_low < -2.0 < (result.log_z_high or -math.inf)
    assert 0 < result.log_z_se < 1e-4


def test_one_dominating_weight_bounds_log_z_by_markov_only() -> None:
    """P(mean >= 40 Z) <= 1/40 for any weights: that is all that is left to say."""
    result = estimate(torch.tensor([*[-60.0] * 999, 0.0], dtype=torch.float64))
    assert result.log_z_low == pytest.approx(result.log_z - math.log(40.0), abs=1e-4)
    assert not result.interval_holds


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_k_hat_is_arviz_k_hat(shape: float) -> None:
    import arviz

    rng = np.random.default_rng(1)
    for n in (100, 1000, 16384):
        log_weight = np.log1p(rng.pareto(1 / shape, n))
        ours = k_hat(torch.from_numpy(log_weight))
        assert ours == pytest.approx(float(arviz.psislw(log_weight)[1]), abs=0.02)


def test_k_hat_of_equal_weights_has_no_tail() -> None:
    assert k_hat(torch.zeros(1000, dtype=torch.float64)) == -math.inf


def test_k_hat_of_one_dominating_weight_is_infinite() -> None:
    assert k_hat(torch.linspace(-1e6, 0, 1000, dtype=torch.float64)) == math.inf
    assert k_hat(torch.tensor([*[0.0] * 999, 50.0], dtype=torch.float64)) == math.inf


def test_k_hat_needs_paths() -> None:
    assert math.isnan(k_hat(torch.zeros(10, dtype=torch.float64)))


def test_log_mean_exp_does_not_overflow() -> None:
    assert float(log_mean_exp(torch.tensor([1e6, 1e6], dtype=torch.float64))) == 1e6
