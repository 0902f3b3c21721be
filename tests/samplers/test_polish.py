"""Polished and resampled draws: the laws that hold for every way of asking, and draw i from any range."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gephyra.samplers.components import Components
from gephyra.samplers.drawing import draw_block
from gephyra.samplers.draws import Draws, Polish
from gephyra.samplers.polish import Langevin, independence_chain, step_scale, tune
from gephyra.samplers.random import keyed_generator, torch_generator
from gephyra.samplers.sampler import Sampler
from gephyra.samplers.session import train
from gephyra.samplers.settings import Budget, Method, Precondition, TrainingSettings
from gephyra.samplers.shift import Weighted, shift
from gephyra.targets.base import AutogradTarget
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from tests.statistics import FALSE_ALARM_RATE, assert_mean_equals

TARGET = GaussianMixture([[-1.5, 0.0], [1.5, 0.5]], [[0.6, 0.6], [0.6, 0.6]], [0.4, 0.6])
WAYS = {
    "weighted": Draws(),
    "resampled": Draws(resample=True),
    "smc": Draws(smc=True),
    "smc, resampled": Draws(smc=True, resample=True),
    "imh": Draws(polish=Polish.IMH),
    "mala": Draws(polish=Polish.MALA, polish_steps=3),
    "resampled, mala": Draws(resample=True, polish=Polish.MALA, polish_steps=3),
    "imh, mala": Draws(polish=Polish.IMH_MALA, polish_steps=3),
    "smc, mala": Draws(smc=True, polish=Polish.MALA, polish_steps=3),
}
STEP = Langevin(torch.ones(2), 0.6)


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    settings = TrainingSettings(
        method=Method.CMCD,
        budget=Budget(iterations=10),
        batch_size=32,
        steps=4,
        width=8,
        precondition=Precondition.NONE,
    )
    return train(TARGET, settings)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", WAYS)
def test_blocks_are_properly_weighted(sampler: Sampler, name: str) -> None:
    """E[mean w f(x)] = Z E[f] over blocks of 32, for f = 1, x and x^2; of the first draw alone too: no bias."""
    values, first = [], []
    for index in range(400):
        drawn = draw_block(sampler.bridge, TARGET, WAYS[name], STEP, 5, index, 32)
        x, weight = drawn.u.double(), drawn.log_weight.exp()
        every = weight[:, None] * torch.cat([torch.ones(32, 1), x, x.square()], 1)
        values.append(every.mean(0).numpy())
        first.append(every[0].numpy())
    variance = 0.36 + 0.24 * np.array([9.0, 0.25])
    mean = np.array([0.3, 0.3])
    expected = [1.0, *mean, *(variance + mean**2)]
    assert_mean_equals(values, expected)
    assert_mean_equals(first, expected)


@pytest.mark.parametrize("name", WAYS)
def test_draw_i_does_not_depend_on_the_range(sampler: Sampler, name: str) -> None:
    whole = list(sampler.draw(7, 0, 1100, WAYS[name]))
    x, log_weight = torch.cat([part.x for part in whole]), torch.cat([part.log_weight for part in whole])
    for start, count in ((0, 1), (500, 30), (1023, 77)):
        parts = list(sampler.draw(7, start, count, WAYS[name]))
        assert torch.equal(torch.cat([part.x for part in parts]), x[start : start + count])
        assert torch.equal(torch.cat([part.log_weight for part in parts]), log_weight[start : start + count])


def test_equal_weights_within_a_block(sampler: Sampler) -> None:
    for name in ("resampled", "imh", "imh, mala", "smc, resampled"):
        first, second = sampler.draw(7, 0, 1024, WAYS[name])
        assert first.log_weight.unique().shape == second.log_weight.unique().shape == (1,)
        assert not torch.equal(first.log_weight, second.log_weight)


def test_plain_draws_are_the_default(sampler: Sampler) -> None:
    for plain, asked in zip(sampler.draw(7, 0, 600), sampler.draw(7, 0, 600, Draws()), strict=True):
        assert torch.equal(plain.x, asked.x)
        assert torch.equal(plain.log_weight, asked.log_weight)


def test_an_exact_sampler_passes_the_independence_chain_unchanged() -> None:
    """Equal weights: every proposal is accepted, and each draw occurs once."""
    chain, acceptance = independence_chain(torch.full((256,), -3.0, dtype=torch.float64), keyed_generator("tests", 0))
    assert acceptance == 1.0
    assert chain.sort().values.tolist() == list(range(256))


def test_the_chain_stays_where_nothing_is_known() -> None:
    chain, acceptance = independence_chain(torch.full((8,), -torch.inf, dtype=torch.float64), keyed_generator("t", 0))
    assert (chain.tolist(), acceptance) == (list(range(8)), 0.0)


@pytest.mark.statistical
def test_langevin_steps_leave_the_target_invariant() -> None:
    """Exact draws of two modes, ten steps: the first coordinate still has its law, and draws have moved."""
    u = TARGET.sample(20_000, torch_generator("tests/mala", 0)).float()
    moved = STEP.move_block(TARGET, u, 10, "tests/mala", 0, 0)

    def cdf(x: np.ndarray) -> np.ndarray:
        return np.asarray(0.4 * stats.norm.cdf(x, -1.5, 0.6) + 0.6 * stats.norm.cdf(x, 1.5, 0.6))

    assert 0.3 < moved.acceptance < 0.95
    assert float((moved.u - u).abs().mean()) > 0.2
    assert stats.kstest(moved.u[:, 0].double().numpy(), cdf).pvalue > FALSE_ALARM_RATE


@pytest.mark.statistical
def test_langevin_steps_keep_weighted_expectations() -> None:
    """Draws of a wide normal with importance weights: E[w f] is what it was, although the draws go to the target."""
    target = Gaussian([0.7], [0.25])
    u = 1.5 * torch.randn(40_000, 1, generator=torch_generator("tests/weighted", 0))
    log_weight = target.log_density(u).double() - torch.from_numpy(
        stats.norm.logpdf(u[:, 0].double().numpy(), 0.0, 1.5)
    )
    moved = Langevin(torch.ones(1), 0.5).move_block(target, u, 20, "tests/weighted", 0, 0).u[:, 0].double()
    weight = log_weight.exp()
    assert_mean_equals(torch.stack([weight * moved, weight * moved.square()], 1), [0.7, 0.25 + 0.49])
    # The plain mean of the proposals was 0.
    assert float(moved.mean()) > 0.5


def test_a_wild_gradient_does_not_freeze_the_steps() -> None:
    """Far out in a narrow normal, where the drift alone would overshoot by hundreds of standard deviations."""
    target = Gaussian([0.0], [1e-4])
    moved = Langevin(torch.ones(1), 0.05).move_block(target, torch.full((64, 1), 3.0), 200, "tests/wild", 0, 0)
    assert bool((moved.u.abs() < 0.2).all())


class HalfNormal(AutogradTarget):
    """A normal law cut at zero."""

    dim = 1

    def _log_density(self, x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0, -0.5 * x[:, 0].square(), -torch.inf)


def test_points_where_the_target_vanishes_are_never_accepted() -> None:
    moved = Langevin(torch.ones(1), 1.0).move_block(HalfNormal(), torch.full((256, 1), 0.1), 20, "tests/wall", 0, 0)
    assert bool((moved.u > 0).all())
    assert moved.acceptance > 0.1


@pytest.mark.parametrize("dim", [1, 10])
def test_tuning_reaches_its_acceptance(dim: int) -> None:
    """57.4 % up to the noise of the tuning: 512 proposals a step, averaged over the last steps."""
    target = Gaussian([0.0] * dim, [1.0] * dim)
    u = target.sample(512, torch_generator("tests/tune", dim)).float()
    tuned = tune(target, torch.ones(dim), u, torch.zeros(512, dtype=torch.float64), 3)
    acceptance = tuned.move_block(target, u, 40, "tests/tuned", 0, 0).acceptance
    assert acceptance == pytest.approx(0.574, abs=0.05)
    assert tune(target, torch.ones(dim), u, torch.zeros(512, dtype=torch.float64), 3).step_size == tuned.step_size


def test_steps_have_the_scale_of_the_modes() -> None:
    mean = torch.zeros(2, 3, dtype=torch.float64)
    sd = torch.tensor([[1.0, 1.0, 1.0], [0.01, 1.0, 4.0]], dtype=torch.float64)
    log_weight = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
    assert step_scale(3, Components(log_weight, mean, sd)).tolist() == pytest.approx([0.1, 1.0, 2.0])
    assert step_scale(3, Components(log_weight, mean, torch.diag_embed(sd))).tolist() == pytest.approx([0.1, 1.0, 2.0])
    assert step_scale(2, None).tolist() == [1.0, 1.0]


def test_shift_is_in_standard_deviations() -> None:
    rng = torch_generator("tests/shift", 0)
    x = torch.randn(10_000, 2, generator=rng, dtype=torch.float64)
    even = torch.zeros(10_000, dtype=torch.float64)
    found = shift(Weighted(x, even), Weighted(2.0 * x + torch.tensor([0.0, 0.5]), even))
    assert found.mean_shift == pytest.approx(0.5, abs=0.1)
    assert found.sd_shift == pytest.approx(math.log(2.0))
    assert found.shift_se == pytest.approx(math.sqrt(2.0) / 100.0)
    assert math.isnan(shift(Weighted(x, even), Weighted(x[:1], even[:1])).mean_shift)


def test_the_polish_report_says_what_was_done(sampler: Sampler) -> None:
    found = sampler.polish_report(7, 0, 600, Draws(polish=Polish.IMH_MALA, polish_steps=4))
    assert (found.draws, found.steps) == (1024, 4)
    assert found.imh_acceptance is not None
    assert 0.1 < found.imh_acceptance < 1.0
    assert found.mala_acceptance == pytest.approx(0.574, abs=0.15)
    assert found.mean_shift < 6.0 * found.shift_se
    none = sampler.polish_report(7, 0, 1, Draws())
    assert (none.steps, none.step_size, none.imh_acceptance, none.mala_acceptance) == (0, None, None, None)
    assert none.mean_shift == 0.0
    with pytest.raises(ValueError, match="count must be at least 1"):
        sampler.polish_report(7, 0, 0, Draws())


def test_a_stored_sampler_polishes_alike(sampler: Sampler, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("stored") / "sampler.safetensors"
    sampler.save(path)
    stored = Sampler.load(path, TARGET)
    ways = WAYS["imh, mala"]
    assert torch.equal(next(stored.draw(1, 0, 50, ways)).x, next(sampler.draw(1, 0, 50, ways)).x)
