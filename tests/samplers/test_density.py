"""Written-out densities and layers against their formulas and autograd, in every input."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers.control import Control
from gephyra.samplers.density import Term, euler_log_density
from gephyra.samplers.residual import Layers, residual

STEPS, BATCH, DIM, WIDTH = 3, 4, 2, 5


def array(*shape: int, seed: int) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.requires_grad_()


def density(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    gap, constant, field, log_scale, slope, x, weight, score = inputs
    terms = [Term(slope, x), Term(weight, score)]
    return euler_log_density(gap, constant, terms, field, log_scale.exp())


def formula(*inputs: Tensor) -> Tensor:
    gap, constant, field, log_scale, slope, x, weight, score = inputs
    scale = log_scale.exp()[:, None]
    drift = constant[:, None] + slope[:, None] * x + weight[:, None] * score + field
    error = (gap - scale.square() * drift) / scale
    return (-0.5 * error.square() - scale.log() - 0.5 * math.log(2.0 * math.pi)).sum(-1)


@pytest.fixture
def inputs() -> list[Tensor]:
    point, coefficient = (STEPS, BATCH, DIM), (STEPS, DIM)
    shapes = [point, coefficient, point, coefficient, coefficient, point, coefficient, point]
    return [array(*shape, seed=seed) for seed, shape in enumerate(shapes)]


def test_both_densities_have_the_value_of_the_formula(inputs: list[Tensor]) -> None:
    for value in density(*inputs):
        torch.testing.assert_close(value, formula(*inputs))


def test_the_live_density_has_the_gradient_of_the_formula_in_every_input(inputs: list[Tensor]) -> None:
    assert torch.autograd.gradcheck(lambda *a: density(*a)[0], inputs)


def test_the_shared_density_holds_the_field_constant(inputs: list[Tensor]) -> None:
    weights = array(STEPS, BATCH, seed=9).detach()
    found = torch.autograd.grad((density(*inputs)[1] * weights).sum(), inputs)
    constant_field = [value.detach() if index == 2 else value for index, value in enumerate(inputs)]
    rest = [value for index, value in enumerate(inputs) if index != 2]
    expected = list(torch.autograd.grad((formula(*constant_field) * weights).sum(), rest))
    expected.insert(2, torch.zeros_like(inputs[2]))
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want)


def test_a_density_without_terms_and_field() -> None:
    gap, constant, scale = array(STEPS, BATCH, DIM, seed=0), array(STEPS, DIM, seed=1), array(STEPS, DIM, seed=2)
    assert torch.autograd.gradcheck(lambda g, k, s: euler_log_density(g, k, [], None, s.exp()), (gap, constant, scale))


def test_layers_have_the_gradient_of_their_values_in_everything_learned() -> None:
    seen, score = array(STEPS, BATCH, 2 * DIM, seed=0).detach(), array(STEPS, BATCH, DIM, seed=1).detach()
    shapes = [(STEPS, 1, WIDTH), (STEPS, 1, DIM), (WIDTH, 2 * DIM), (WIDTH, WIDTH), (WIDTH,), (2 * DIM, WIDTH)]
    learned = [array(*shape, seed=2 + index) for index, shape in enumerate([*shapes, (2 * DIM,)])]

    def u(shift: Tensor, gate: Tensor, *layers: Tensor) -> Tensor:
        return residual(seen, score, shift, gate, Layers(*layers))

    assert torch.autograd.gradcheck(u, learned)


def control() -> Control:
    made = Control(DIM, WIDTH, torch.Generator().manual_seed(0), gate=1.0).double()
    for index, parameter in enumerate(made.parameters()):
        parameter.data += 0.3 * array(*parameter.shape, seed=index).detach()
    return made


def test_a_control_on_constant_points_is_its_differentiable_self() -> None:
    made, times = control(), torch.linspace(0.0, 1.0, STEPS).double()
    # Scores on both sides of both clips.
    x, score = array(STEPS, BATCH, DIM, seed=20).detach(), 60.0 * array(STEPS, BATCH, DIM, seed=21).detach()
    results = []
    for points in (x, x.clone().requires_grad_()):
        u = made(points, score, made.features(times).between(0, STEPS))
        results.append([u.detach(), *torch.autograd.grad(u.square().sum(), list(made.parameters()))])
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain)


@torch.no_grad()
def test_a_control_says_the_same_at_one_time_and_at_all() -> None:
    made, times = control(), torch.linspace(0.0, 1.0, STEPS).double()
    x, score = array(STEPS, BATCH, DIM, seed=20), array(STEPS, BATCH, DIM, seed=21)
    features = made.features(times)
    together = made(x, score, features.between(0, STEPS))
    for n, alone in enumerate(features.each()):
        torch.testing.assert_close(made(x[n], score[n], alone), together[n])
