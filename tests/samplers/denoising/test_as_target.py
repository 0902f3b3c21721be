"""A trained model as a target: normalised, with the score of its own density and the draws that belong to it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.as_target import ModelTarget
from gephyra.samplers.denoising.flow import ProbabilityFlow
from gephyra.samplers.denoising.frame import LOWEST
from gephyra.samplers.denoising.sampler import DenoisingSampler
from gephyra.samplers.denoising.session import train_denoiser
from gephyra.samplers.denoising.settings import DenoisingSettings, PredictionName
from gephyra.samplers.settings import Budget, Precision
from gephyra.targets.check import batch_finding, finite_finding, score_finding
from tests.statistics import assert_mean_equals

QUICK = DenoisingSettings(budget=Budget(iterations=150), width=16, blocks=1, batch_size=64)


def pairs(count: int) -> Tensor:
    """Two unequal modes around (10, 0), in units of 3."""
    generator = np.random.default_rng(5)
    sign = generator.choice([-1.0, 1.0], (count, 1), p=[0.3, 0.7])
    return torch.from_numpy(10.0 * np.array([1.0, 0.0]) + 3.0 * (sign + 0.4 * generator.standard_normal((count, 2))))


def trained(settings: DenoisingSettings = QUICK) -> DenoisingSampler:
    return train_denoiser(pairs(400), ["a", "b"], settings)


@pytest.fixture(scope="module")
def sampler() -> DenoisingSampler:
    return trained()


@pytest.fixture(scope="module")
def target(sampler: DenoisingSampler) -> ModelTarget:
    return ModelTarget(sampler)


def test_it_does_what_targets_promise(target: ModelTarget) -> None:
    generator = torch.Generator().manual_seed(1)
    x = 10.0 * torch.randn(8, 2, generator=generator, dtype=torch.float64)
    found = finite_finding(target, x), score_finding(target, x, generator), batch_finding(target, x, generator)
    assert not [each for each in found if not each.passed]
    assert (target.dim, target.log_z, target.sites) == (2, 0.0, ())


def test_it_integrates_to_one_and_its_draws_have_its_moments(target: ModelTarget) -> None:
    """Midpoints of 80 x 80 cells over +-5 standard deviations: what is left out is far below the tolerance."""
    axis = torch.linspace(-15.0, 15.0, 81, dtype=torch.float64)
    middle = 0.5 * (axis[1:] + axis[:-1])
    x = torch.cartesian_prod(10.0 + middle, middle)
    mass = target.log_density(x).exp() * float(axis[1] - axis[0]) ** 2
    assert float(mass.sum()) == pytest.approx(1.0, abs=5e-3)
    draws = target.sample(4000, torch.Generator().manual_seed(2))
    assert torch.equal(draws, target.sample(4000, torch.Generator().manual_seed(2)))
    features = torch.cat([x, x.square()], 1)
    assert_mean_equals(torch.cat([draws, draws.square()], 1), (mass[:, None] * features).sum(0) / mass.sum())


def test_few_placed_steps_are_the_flow(sampler: DenoisingSampler, target: ModelTarget) -> None:
    x = target.sample(200, torch.Generator().manual_seed(3))
    with torch.no_grad():
        flow = ProbabilityFlow(sampler.model, LOWEST, sampler.frame.high, 128)
        y = sampler.frame.transform.to_model(x).float()
        many = flow.log_density(y) - sampler.frame.transform.log_jacobian
    error = target.log_density(x) - many
    assert float(error.square().mean().sqrt()) < 2e-2
    assert abs(float(error.mean())) < 1e-2


@pytest.mark.parametrize("prediction", [PredictionName.VELOCITY, PredictionName.ENERGY])
def test_the_score_is_the_gradient_of_the_density(prediction: PredictionName) -> None:
    """In float64, to what central differences can tell; also for a network that is itself a gradient."""
    settings = replace(QUICK, budget=Budget(iterations=5), prediction=prediction, precision=Precision.FLOAT64)
    target = ModelTarget(trained(settings))
    x = pairs(6)
    log_density, score = target.log_density_and_score(x)
    assert torch.allclose(target.log_density(x), log_density, rtol=1e-12)
    assert not score.requires_grad
    step = 1e-4
    for d in range(2):
        shift = torch.zeros(2, dtype=torch.float64).index_fill_(0, torch.tensor(d), step)
        rise = target.log_density(x + shift) - target.log_density(x - shift)
        assert torch.allclose(score[:, d], rise / (2 * step), rtol=1e-5, atol=1e-6)


def test_the_log_density_can_be_differentiated(target: ModelTarget) -> None:
    x = pairs(5).requires_grad_()
    (gradient,) = torch.autograd.grad(target.log_density(x).sum(), x)
    constant, score = target.log_density_and_score(x.detach())
    assert torch.equal(gradient, score)
    assert torch.equal(target.log_density_and_score(x)[0].detach(), constant)
    assert target.log_density(x.float().detach()).dtype == torch.float32


def test_it_says_that_its_score_is_a_constant(target: ModelTarget) -> None:
    """So that a loss which would differentiate it is warned of."""
    x = pairs(2).requires_grad_()
    assert not target.log_density_and_score(x)[1].requires_grad
    assert not target.second_derivatives


def test_what_has_no_density_is_refused() -> None:
    levels = torch.from_numpy(np.random.default_rng(6).integers(0, 4, (200, 2)).astype(np.float32))
    with pytest.raises(ValueError, match="levels gives probabilities, not a density"):
        ModelTarget(train_denoiser(levels, ["a", "b"], replace(QUICK, budget=Budget(iterations=2))))
    wide = torch.from_numpy(np.random.default_rng(6).standard_normal((300, 101)))
    names = [f"x{n}" for n in range(101)]
    with pytest.raises(ValueError, match="at most 100 dimensions, got 101"):
        ModelTarget(train_denoiser(wide, names, replace(QUICK, budget=Budget(iterations=2))))
