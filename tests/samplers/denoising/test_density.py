"""Laws of every density of noise levels: it integrates to its cdf, and its quantile inverts that."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.density import (
    Cosine,
    Histogram,
    LevelDensity,
    LinearBeta,
    Logistic,
    Normal,
    Truncated,
    Uniform,
    log_normal_noise,
    logit_normal_time,
    straight,
)

DENSITIES: dict[str, LevelDensity] = {
    "cosine": Cosine(),
    "shifted cosine": Cosine(-0.7),
    "linear beta": LinearBeta(),
    "uniform": Uniform(-7.0, 9.0),
    "straight": straight(),
    "logistic": Logistic(3.0, 1.5),
    "edm": log_normal_noise(),
    "logit-normal": logit_normal_time(0.5, 0.8),
    "truncated cosine": Truncated(Cosine(), -6.0, 5.0),
    "truncated linear beta": Truncated(LinearBeta(), -9.0, 12.0),
    "histogram": Histogram(torch.tensor([-4.0, -1.0, 0.0, 5.0]), torch.tensor([1.0, 4.0, 0.5])),
}
each_density = pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES)
SHARES = torch.linspace(0.001, 0.999, 1997, dtype=torch.float64)


@each_density
def test_quantile_inverts_the_cdf(density: LevelDensity) -> None:
    assert (density.cdf(density.quantile(SHARES)) - SHARES).abs().max() < 1e-12


@each_density
def test_density_is_the_derivative_of_the_cdf(density: LevelDensity) -> None:
    # Midpoint rule inside steps that no edge of a histogram crosses.
    at = density.quantile(SHARES)
    step = 1e-4
    slope = (density.cdf(at + step) - density.cdf(at - step)) / (2 * step)
    error = (slope - density.log_density(at).exp()).abs()
    assert int((error > 1e-6).sum()) <= (2 if isinstance(density, Histogram) else 0)


@pytest.mark.parametrize("name", ["uniform", "truncated cosine", "truncated linear beta", "histogram"])
def test_bounded_densities_end_where_they_say(name: str) -> None:
    density = DENSITIES[name]
    low, high = density.quantile(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert math.isfinite(float(low))
    assert math.isfinite(float(high))
    assert torch.isneginf(density.log_density(torch.stack([low - 0.1, high + 0.1]))).all()
    assert density.cdf(torch.stack([low - 0.1, high + 0.1])).tolist() == [0.0, 1.0]


def _slope(function: LevelDensity, time: Tensor) -> Tensor:
    return -1.0 / function.log_density(function.quantile(1.0 - time)).exp()


def test_schedules_of_the_literature() -> None:
    """lambda(t) and its slope in closed form."""
    time = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    total = 0.1 * time + 0.5 * 19.9 * time**2
    cases: list[tuple[LevelDensity, Tensor, Tensor]] = [
        (Cosine(), -2 * (0.5 * math.pi * time).tan().log(), -2 * math.pi / (math.pi * time).sin()),
        (straight(), 2 * ((1 - time) / time).log(), -2 / (time * (1 - time))),
        (LinearBeta(), -torch.expm1(total).log(), -(0.1 + 19.9 * time) * total.exp() / torch.expm1(total)),
    ]
    for density, log_snr, slope in cases:
        assert torch.allclose(density.quantile(1.0 - time), log_snr, rtol=1e-10, atol=1e-10)
        assert torch.allclose(_slope(density, time), slope, rtol=1e-10)


def test_a_karras_density_is_normal_in_lambda() -> None:
    assert log_normal_noise() == Normal(2.4, 2.4)
    assert log_normal_noise(-0.4, 1.0) == Normal(0.8, 2.0)


def test_ranges_without_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="finite low to a higher finite high, got 3"):
        Uniform(3.0, 3.0)
    with pytest.raises(ValueError, match="finite low"):
        Truncated(Cosine(), -math.inf, 3.0)
    with pytest.raises(ValueError, match="no mass between log_snr -30"):
        Truncated(LinearBeta(), -30.0, -20.0)
    with pytest.raises(ValueError, match=r"edges \(bins \+ 1,\) and mass"):
        Histogram(torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match="every bin must have positive finite mass"):
        Histogram(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 0.0]))
