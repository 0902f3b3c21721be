"""Networks and the models made of them: where they start, what they keep, and that every choice can be trained."""

import itertools
import math
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from gephyra.samplers.denoising.catalogue import (
    LEVELS,
    PREDICTIONS,
    RECONSTRUCTIONS,
    SCHEDULES,
    SOLVERS,
    WEIGHTINGS,
    NoiseSchedule,
)
from gephyra.samplers.denoising.denoiser import DenoisingModel, Reparametrised
from gephyra.samplers.denoising.exact import GaussianDenoiser
from gephyra.samplers.denoising.loss import DenoisingLoss
from gephyra.samplers.denoising.network import EnergyModel, Network, NetworkModel, ResidualMlp
from gephyra.samplers.denoising.sampling import Independent, NoiseLevels
from gephyra.samplers.denoising.schedule import preserving
from gephyra.samplers.denoising.settings import (
    LevelsName,
    PredictionName,
    ReconstructionName,
    ScheduleName,
    SolverName,
    WeightingName,
)
from gephyra.samplers.denoising.unet import ImageShape, UNet
from gephyra.samplers.denoising.weighting import implied_weight
from gephyra.samplers.noise import NoiseSource
from gephyra.samplers.random import torch_generator
from tests.samplers.denoising.exact import draws, normal, uniform
from tests.statistics import assert_mean_equals

LOW, HIGH = -8.0, 10.0
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=torch.float64)
GAUSSIAN = GaussianDenoiser(torch.tensor([0.2, -0.1]), COVARIANCE)


def _mlp(outputs: int, dim: int = 2) -> ResidualMlp:
    return ResidualMlp(dim, outputs, 16, 2, torch_generator("test/network", 0))


def _model(name: PredictionName, given: NoiseSchedule, skip: GaussianDenoiser | None = None) -> DenoisingModel:
    if name is PredictionName.ENERGY:
        return EnergyModel(_mlp(1), given.schedule).double()
    return NetworkModel(_mlp(2), PREDICTIONS[name](given), given.schedule, skip).double()


Module = TypeVar("Module", bound=nn.Module)


def _shaken(model: Module) -> Module:
    """With weights that are no longer zero anywhere."""
    generator = torch_generator("test/shaken", 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model


def test_every_word_stands_for_something() -> None:
    assert set(SCHEDULES) == set(ScheduleName)
    assert set(PREDICTIONS) == set(PredictionName)
    assert set(WEIGHTINGS) == set(WeightingName)
    assert set(LEVELS) == set(LevelsName)
    assert set(RECONSTRUCTIONS) == set(ReconstructionName)
    assert set(SOLVERS) == set(SolverName)


SKIPPED = [name for name in PredictionName if name is not PredictionName.ENERGY]


@pytest.mark.parametrize("weighting", WeightingName)
@pytest.mark.parametrize("prediction", SKIPPED)
def test_a_gaussian_skip_leaves_no_excess_loss_on_a_gaussian(
    prediction: PredictionName, weighting: WeightingName
) -> None:
    """Under every weighting: the loss of the untrained model is the least there is."""
    given = SCHEDULES[ScheduleName.COSINE](LOW, HIGH)
    model = _model(prediction, given, GAUSSIAN)
    loss = DenoisingLoss(
        WEIGHTINGS[weighting](given, model.prediction), NoiseLevels(given.density, Independent()), given.schedule
    )
    levels = NoiseLevels(given.density, Independent()).sample(uniform("skip", 500))
    x, eps = GAUSSIAN.mean + normal("skip/x", 500, 2) @ torch.linalg.cholesky(COVARIANCE).mT, normal("skip/eps", 500, 2)
    with torch.no_grad():
        ours = loss.terms(model, x, eps, levels)
        least = loss.terms(Reparametrised(GAUSSIAN, model.prediction, given.schedule), x, eps, levels)
    assert torch.allclose(ours, least, rtol=1e-9)
    y = preserving(levels.log_snr).noised(x, eps)
    with torch.no_grad():
        excess = (
            loss.noise_weight(levels)
            * levels.log_snr.exp()
            * (model.data(y, levels.log_snr) - GAUSSIAN.data(y, levels.log_snr)).square().sum(1)
        )
    assert float((excess / least).max()) < 1e-18


@pytest.mark.statistical
def test_the_least_loss_of_a_gaussian_is_known() -> None:
    given = SCHEDULES[ScheduleName.COSINE](LOW, HIGH)
    source = NoiseLevels(given.density, Independent())
    loss = DenoisingLoss(
        WEIGHTINGS[WeightingName.MIN_SNR](given, PREDICTIONS[PredictionName.NOISE](given)), source, given.schedule
    )
    levels = source.sample(uniform("least", 20_000))
    x = GAUSSIAN.mean + normal("least/x", 20_000, 2) @ torch.linalg.cholesky(COVARIANCE).mT
    with torch.no_grad():
        terms = loss.terms(_model(PredictionName.VELOCITY, given, GAUSSIAN), x, normal("least/eps", 20_000, 2), levels)
    assert_mean_equals(terms - 0.5 * loss.noise_weight(levels) * GAUSSIAN.expected_error(levels.log_snr), 0.0)


EVERY = list(itertools.product(PredictionName, WeightingName))


@pytest.mark.parametrize(("prediction", "weighting"), EVERY)
def test_every_choice_has_a_finite_gradient(prediction: PredictionName, weighting: WeightingName) -> None:
    """In float32, on every schedule and source of levels, in continuous and in discrete time."""
    schedules, sources = itertools.cycle(ScheduleName), itertools.cycle(LevelsName)
    data = draws("every", 64).float()
    for n in range(7):
        given = SCHEDULES[next(schedules)](LOW, HIGH)
        source = LEVELS[next(sources)](given, None if n % 2 else 20)
        model = _shaken(_model(prediction, given).float())
        loss = DenoisingLoss(
            WEIGHTINGS[weighting](given, model.prediction), source.levels, given.schedule, source.memory
        )
        outcome = loss.gradient(model, data, NoiseSource(0, n), 16)
        assert math.isfinite(outcome.loss)
        gradients = [parameter.grad for parameter in model.parameters()]
        assert all(gradient is None or bool(gradient.isfinite().all()) for gradient in gradients)
        assert any(gradient is not None and bool(gradient.any()) for gradient in gradients)


@pytest.mark.parametrize("schedule", ScheduleName)
@pytest.mark.parametrize("weighting", WeightingName)
def test_every_weight_can_be_shown(weighting: WeightingName, schedule: ScheduleName) -> None:
    given = SCHEDULES[schedule](LOW, HIGH)
    grid = torch.linspace(LOW, HIGH, 101, dtype=torch.float64)
    curve = implied_weight(
        WEIGHTINGS[weighting](given, PREDICTIONS[PredictionName.NOISE](given)), given.schedule, given.density, grid
    )
    assert bool((curve.weight > 0).all())
    assert bool(curve.weight.isfinite().all())
    if weighting is WeightingName.ELBO:
        assert curve.monotone


def test_an_energys_score_is_conservative() -> None:
    """Its Jacobian is symmetric, which that of a network of vectors is not; and it starts as a standard normal's."""
    given = SCHEDULES[ScheduleName.COSINE](LOW, HIGH)
    y, log_snr = normal("energy", 4, 2), torch.tensor([-2.0, 0.0, 1.0, 4.0]).double()
    fresh, model = _model(PredictionName.ENERGY, given), _shaken(_model(PredictionName.ENERGY, given))
    assert torch.allclose(fresh.output(y, log_snr), -y)
    assert float(_asymmetry(model, y, log_snr)) < 1e-10
    assert float(_asymmetry(_shaken(_model(PredictionName.SCORE, given)), y, log_snr)) > 1e-3


def _asymmetry(model: DenoisingModel, y: Tensor, log_snr: Tensor) -> Tensor:
    leaf = y.clone().requires_grad_()
    score = model.output(leaf, log_snr)
    rows = [torch.autograd.grad(score[:, d].sum(), leaf, retain_graph=True)[0] for d in range(2)]
    return (rows[0][:, 1] - rows[1][:, 0]).abs().max()


def test_an_energy_answers_without_a_graph() -> None:
    given = SCHEDULES[ScheduleName.COSINE](LOW, HIGH)
    with torch.no_grad():
        data = _model(PredictionName.ENERGY, given).data(normal("graph", 3, 2), torch.zeros(3, dtype=torch.float64))
    assert not data.requires_grad


@pytest.mark.parametrize("network", [_mlp(3), UNet(ImageShape(1, 5, 3), 2, (8, 16), torch_generator("test/unet", 0))])
def test_networks_start_at_zero_and_see_the_level(network: Network) -> None:
    y = normal("zero", 4, network.dim).float()
    assert not network(y, torch.zeros(4)).any()
    generator = torch_generator("test/nonzero", 0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    one, other = network(y, torch.zeros(4)), network(y, torch.full((4,), 3.0))
    assert not torch.allclose(one, other)
    assert torch.allclose(network(y[1:2], torch.zeros(1)), one[1:2], atol=1e-5)


def test_networks_are_a_function_of_their_generator() -> None:
    assert torch.equal(_mlp(2).inlet.weight, _mlp(2).inlet.weight)


@pytest.mark.parametrize("shape", [ImageShape(1, 8, 8), ImageShape(3, 25, 25), ImageShape(1, 28, 28)])
def test_images_of_any_side(shape: ImageShape) -> None:
    network = UNet(shape, 3, (8, 8, 16), torch_generator("test/sides", 0))
    assert network(torch.zeros(2, network.dim), torch.zeros(2)).shape == (2, 3 * network.dim)


def test_answers_lie_where_the_pixels_do() -> None:
    """Channel by channel, line by line, and the answers of a pixel side by side."""
    network = UNet(ImageShape(3, 4, 5), 2, (8,), torch_generator("test/layout", 0))
    assert network.outlet.bias is not None
    with torch.no_grad():
        network.outlet.bias.copy_(torch.arange(6.0))
    answer = network(torch.zeros(1, 60), torch.zeros(1)).view(3, 4, 5, 2)
    assert torch.equal(answer, torch.arange(6.0).view(3, 1, 1, 2).expand(3, 4, 5, 2))


def test_wrong_sides_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sides between 2 and 32, got \(8, 33\)"):
        UNet(ImageShape(1, 8, 33), 1, (8, 8), torch_generator("test", 0))
