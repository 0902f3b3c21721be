"""Laws of every prediction on every schedule: conversions invert each other, and one kappa converts squared errors."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.density import Cosine, Uniform, straight
from gephyra.samplers.denoising.prediction import (
    Data,
    EdmOutput,
    FlowVelocity,
    Noise,
    Prediction,
    Score,
    Velocity,
)
from gephyra.samplers.denoising.schedule import Level, Rectified, Schedule, VarianceExploding, VariancePreserving
from gephyra.samplers.random import keyed_generator

SCHEDULES: Mapping[str, Schedule] = {
    "preserving": VariancePreserving(),
    "rectified": Rectified(),
    "exploding": VarianceExploding(),
}
PREDICTIONS: Mapping[str, Prediction] = {
    "noise": Noise(),
    "data": Data(),
    "velocity": Velocity(),
    "score": Score(),
    "flow on straight time": FlowVelocity(straight()),
    "flow on cosine time": FlowVelocity(Cosine()),
    "edm": EdmOutput(0.5),
    "edm of unit data": EdmOutput(),
}
TOLERANCE = 1e-12

each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)


def _points(stream: str, rows: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    """Levels in [-6, 6], data and noise."""
    generator = keyed_generator(stream, 0)
    numbers = torch.from_numpy(generator.standard_normal((2, rows, 3)))
    return torch.from_numpy(generator.uniform(-6.0, 6.0, rows)), numbers[0], numbers[1]


def _level(schedule: Schedule) -> tuple[Level, Tensor, Tensor, Tensor]:
    log_snr, x, eps = _points("prediction")
    level = schedule.at(log_snr)
    return level, x, eps, level.noised(x, eps)


@each_schedule
def test_levels_have_their_signal_to_noise_ratio(schedule: Schedule) -> None:
    log_snr = torch.linspace(-20, 20, 81, dtype=torch.float64)
    level = schedule.at(log_snr)
    assert torch.allclose(2.0 * (level.alpha / level.sigma).log()[:, 0], log_snr, rtol=TOLERANCE, atol=TOLERANCE)


@each_schedule
def test_slope_is_the_derivative_of_log_alpha(schedule: Schedule) -> None:
    log_snr = torch.linspace(-8, 8, 33, dtype=torch.float64, requires_grad=True)
    level = schedule.at(log_snr)
    if level.alpha.requires_grad:
        (slope,) = torch.autograd.grad(level.alpha.log().sum(), log_snr)
        assert torch.allclose(slope, level.slope[:, 0], rtol=1e-10, atol=1e-14)
    else:
        assert not level.slope.any()


def test_named_schedules_are_what_their_names_say() -> None:
    log_snr = torch.linspace(-9, 9, 19, dtype=torch.float64)
    preserving, rectified = VariancePreserving().at(log_snr), Rectified().at(log_snr)
    assert torch.allclose(preserving.rho, torch.ones_like(preserving.rho), rtol=TOLERANCE)
    assert torch.allclose(rectified.alpha + rectified.sigma, torch.ones_like(rectified.rho), rtol=TOLERANCE)


@each_schedule
@each_prediction
def test_data_and_noise_come_back(prediction: Prediction, schedule: Schedule) -> None:
    level, x, eps, z = _level(schedule)
    output = prediction.of(x, eps, level)
    # A unit of rounding in z is this much in x, or in eps: alpha and sigma are below one away from their ends.
    assert (prediction.data(output, z, level) - x).abs().div(1 + level.sigma / level.alpha).max() < TOLERANCE
    assert (prediction.noise(output, z, level) - eps).abs().div(1 + level.alpha / level.sigma).max() < TOLERANCE


@each_schedule
@each_prediction
def test_kappa_converts_squared_errors(prediction: Prediction, schedule: Schedule) -> None:
    level, x, eps, z = _level(schedule)
    wrong = eps + 0.3 * x
    guess = prediction.of((z - level.sigma * wrong) / level.alpha, wrong, level)
    of_noise = (0.3 * x).square().sum(1)
    of_output = (guess - prediction.of(x, eps, level)).square().sum(1)
    # The two errors are differences of numbers of order one over alpha and sigma.
    assert (prediction.kappa(level) * of_output / of_noise - 1).abs().max() < 3e-12


CLOSED_KAPPA: Mapping[str, Callable[[Level], Tensor]] = {
    "noise": lambda level: torch.ones_like(level.alpha),
    "data": lambda level: level.log_snr.exp(),
    "score": lambda level: level.sigma.square(),
    "velocity": lambda level: (level.alpha / (level.alpha.square() + level.sigma.square())).square(),
    "edm": lambda level: 1.0 / (1.0 + (-level.log_snr).exp() / 0.5**2),
    "flow on straight time": lambda level: 4.0 / (level.sigma * 8.0 * torch.cosh(level.log_snr / 4).square()).square(),
}


@each_schedule
@pytest.mark.parametrize("name", CLOSED_KAPPA)
def test_kappa_has_its_closed_form(name: str, schedule: Schedule) -> None:
    level = schedule.at(torch.linspace(-8, 8, 33, dtype=torch.float64))
    expected = CLOSED_KAPPA[name](level)[:, 0]
    assert (PREDICTIONS[name].kappa(level) / expected - 1).abs().max() < TOLERANCE


def test_known_special_cases() -> None:
    log_snr, x, eps = _points("prediction")
    straight_level, cosine_level = Rectified().at(log_snr), VariancePreserving().at(log_snr)
    flow, cosine_flow = PREDICTIONS["flow on straight time"], PREDICTIONS["flow on cosine time"]
    assert (flow.of(x, eps, straight_level) - (eps - x)).abs().max() < TOLERANCE
    velocity = Velocity().of(x, eps, cosine_level)
    assert (cosine_flow.of(x, eps, cosine_level) - torch.pi / 2 * velocity).abs().max() < TOLERANCE
    assert (EdmOutput(1.0).of(x, eps, cosine_level) + velocity).abs().max() < TOLERANCE


def test_a_flow_beyond_the_ends_of_its_clock_is_still_a_prediction() -> None:
    level, x, eps, z = _level(Rectified())
    flow = FlowVelocity(Uniform(-1.0, 1.0))
    assert (flow.data(flow.of(x, eps, level), z, level) - x).abs().max() < 1e-10


@each_prediction
def test_scale_is_the_root_mean_square_of_the_output(prediction: Prediction) -> None:
    level, x, eps, _ = _level(VariancePreserving())
    a, b = prediction.coefficients(level)
    assert torch.allclose(prediction.scale(level).square(), a.square() + b.square(), rtol=TOLERANCE)
    assert prediction.of(x, eps, level).shape == x.shape
