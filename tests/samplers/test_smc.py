"""Sequential Monte Carlo along paths: unbiased whatever is resampled, and worth it where weights degenerate."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gephyra.samplers.algorithms import build
from gephyra.samplers.algorithms.parts import Ingredients
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.draws import SMC_METHODS, Draws, Polish
from gephyra.samplers.estimate import log_mean_exp
from gephyra.samplers.evaluate import block, path_noise
from gephyra.samplers.random import keyed_generator, torch_generator
from gephyra.samplers.resampling import ess_fraction, systematic
from gephyra.samplers.settings import Method, TrainingSettings
from gephyra.samplers.smc import Particles, resampled_paths
from gephyra.targets.base import AutogradTarget, Target
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from tests.statistics import FALSE_ALARM_RATE, assert_mean_equals


class NormalTail(AutogradTarget):
    """exp(-x^2 / 2) on x > 1: paths may leave the support and come back."""

    dim = 1
    log_z = 0.5 * math.log(2.0 * math.pi) + float(stats.norm.logsf(1.0))
    mean = math.exp(stats.norm.logpdf(1.0) - stats.norm.logsf(1.0))

    def _log_density(self, x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 1, -0.5 * x[:, 0].square(), -torch.inf)


TARGETS: dict[str, Callable[[], Target]] = {
    "far gaussian": lambda: Gaussian([1.0, -1.0], [0.2, 0.3]),
    "near gaussian": lambda: Gaussian([1.2, -1.2], [0.8, 0.9]),
    "two modes": lambda: GaussianMixture([[-1.5, 0.0], [1.5, 0.5]], [[0.6, 0.6], [0.6, 0.6]], [0.4, 0.6]),
    "wall": NormalTail,
}


def bridge_of(method: Method, dim: int, steps: int = 8, networks: float = 0.0) -> Bridge:
    """An untrained bridge with random networks."""
    generator = torch_generator("tests/smc", 0)
    settings = TrainingSettings(method=method, steps=steps, width=8)
    bridge = build(Ingredients(dim, settings, generator)).requires_grad_(False)
    for name, parameter in bridge.named_parameters():
        if "control" in name:
            parameter.add_(networks * torch.randn(parameter.shape, generator=generator))
    return bridge


def particles(bridge: Bridge, target: Target, index: int, size: int, looks: int = 4) -> Particles:
    noise = path_noise(bridge, "smc", 0, index, size)
    return resampled_paths(bridge, target, noise, keyed_generator("smc/resample", 0, index), looks)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("method", "name"),
    [
        *((Method.CMCD, name) for name in TARGETS if name != "near gaussian"),
        *((method, "two modes") for method in (Method.MCD, Method.ULA)),
        *((method, "near gaussian") for method in SMC_METHODS if method.underdamped),
    ],
)
def test_the_mean_weight_of_a_block_is_unbiased_for_z(method: Method, name: str) -> None:
    """E[mean w] = Z and E[mean w f(x)] = Z E[f], block by block, resampled on the way in most of them."""
    target = TARGETS[name]()
    # In eight steps an untrained bridge with a momentum has weights of k-hat 0.7, too heavy for a mean to be tested.
    steps, networks = (24, 0.05) if method.underdamped else (8, 0.1)
    bridge, ratios, moments, resampled = bridge_of(method, target.dim, steps, networks), [], [], 0
    for index in range(250):
        found = particles(bridge, target, index, 64)
        weight = (found.log_weight - (target.log_z or 0.0)).exp()
        ratios.append(float(weight.mean()))
        moments.append(float((weight * found.state[:, 0].double().nan_to_num()).mean()))
        resampled += bool(found.resampled)
    assert resampled > 80
    assert_mean_equals(ratios, 1.0)
    expected = {"far gaussian": 1.0, "near gaussian": 1.2, "two modes": 0.3, "wall": NormalTail.mean}[name]
    assert_mean_equals(moments, expected)


@pytest.mark.slow
@pytest.mark.statistical
def test_resampling_pays_where_weights_degenerate_on_the_way() -> None:
    """A long annealing towards a narrow target in 20 dimensions: a smaller variance of log Z-hat than without looks."""
    target, count = Gaussian([1.0] * 20, [0.3] * 20), 150
    bridge = bridge_of(Method.ULA, 20, steps=64)
    plain, smc = (
        np.var(
            [float(log_mean_exp(particles(bridge, target, index, 128, looks).log_weight)) for index in range(count)],
            ddof=1,
        )
        for looks in (1, 8)
    )
    # The ratio of two variances of as many normal values, were they equal.
    assert smc / plain < stats.f.ppf(FALSE_ALARM_RATE, count - 1, count - 1)


@pytest.mark.parametrize("method", [Method.CMCD, Method.CMCD_UD])
def test_without_looks_the_paths_are_the_plain_ones(method: Method) -> None:
    target, bridge = TARGETS["two modes"](), bridge_of(method, 2, networks=0.3)
    found = particles(bridge, target, 3, 64, looks=1)
    x, log_weight = block(bridge, target, "smc", 0, 3, 64)
    assert found.resampled == ()
    assert torch.equal(found.state[:, :2], x)
    assert torch.allclose(found.log_weight, log_weight, atol=1e-5)


def test_lost_paths_have_weight_zero() -> None:
    class Nowhere(AutogradTarget):
        dim = 1

        def _log_density(self, x: Tensor) -> Tensor:
            return x[:, 0] * math.nan

    found = particles(bridge_of(Method.ULA, 1), Nowhere(), 0, 16)
    assert bool((found.log_weight == -torch.inf).all())


@pytest.mark.parametrize("method", [method for method in Method if method not in SMC_METHODS])
def test_other_methods_are_refused(method: Method) -> None:
    with pytest.raises(ValueError, match=r"^smc is for methods .*cmcd, mcd, ula"):
        Draws(smc=True).check(method)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^polish imh needs independent paths"):
        Draws(smc=True, polish=Polish.IMH)
    with pytest.raises(ValueError, match=r"^polish_steps must be between 1 and 1000, got 0"):
        Draws(polish=Polish.MALA, polish_steps=0)


def test_systematic_resampling_copies_within_one_of_what_is_due() -> None:
    weights = torch.tensor([0.1, 0.0, 0.45, 0.25, 0.2], dtype=torch.float64)
    for seed in range(50):
        chosen = systematic(weights.log(), 10, keyed_generator("tests/systematic", seed))
        copies = torch.bincount(chosen, minlength=5)
        assert bool(((copies - 10 * weights).abs() < 1.0).all())


@pytest.mark.statistical
def test_every_place_of_resampled_draws_has_the_same_law() -> None:
    weights = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    places = [systematic(weights.log(), 4, keyed_generator("tests/places", seed)).numpy() for seed in range(4000)]
    hits = np.stack([np.stack(places) == k for k in range(3)], -1)
    assert_mean_equals(hits, np.broadcast_to(weights.numpy(), (4, 3)))


def test_effective_sample_size_in_log_space() -> None:
    assert ess_fraction(torch.tensor([-1e6, -1e6], dtype=torch.float64)) == pytest.approx(1.0)
    assert ess_fraction(torch.tensor([0.0, -torch.inf], dtype=torch.float64)) == pytest.approx(0.5)
    assert ess_fraction(torch.full((3,), -torch.inf, dtype=torch.float64)) == 0.0
