"""Gradients of the losses against closed forms and against each other.

The one-step bridge of samplers.md 2.8 has polynomial integrands, so a 3-node Gauss-Hermite product grid over batches of
two paths (four normal numbers, degree at most four in each) gives the expected gradient exactly, the leave-one-out
factor included.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from gephyra.samplers import objective as objective_module
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.losses import (
    DetachedLoss,
    PathCoefficients,
    forward_kl,
    log_variance,
    reverse_kl_controlled,
    reverse_kl_log_derivative,
    reverse_kl_reward_to_go,
    trust_region_log_variance,
)
from gephyra.samplers.noise import NoiseSource
from gephyra.samplers.objective import Objective
from gephyra.samplers.objectives import OBJECTIVES
from gephyra.samplers.objectives.detached import DetachedObjective, TrajectoryBalance
from gephyra.samplers.objectives.reparametrised import ReparametrisedObjective
from gephyra.samplers.objectives.subtb import SubTrajectoryBalance
from gephyra.samplers.path import Path
from gephyra.samplers.settings import Loss
from gephyra.samplers.simulate import simulate, simulate_backward
from gephyra.samplers.weigh import PathWeights
from gephyra.targets.base import Target
from tests.samplers.bridges import GivenNoise, OneStepBridge, UnnormalisedNormal, objective_of

A, B, S, M, TAU = 0.3, -0.5, 0.8, 1.0, 0.5
NORMAL = UnnormalisedNormal(M, TAU)
REVERSE_KL = (-3.1125, -0.3125, 3.121875)
HALF_LOG_VARIANCE = (-3.1125, -3.1125, -1.55625)
ELBO = -(-1 + ((A + B) ** 2 + S**2) / (2 * S**2) + (1 + S**2 + (A - M) ** 2) / (2 * TAU**2) - 0.5 * np.log(2 * np.pi))


def balance(log_z: float) -> Objective:
    """Trajectory balance with its log Z at a value."""
    objective = TrajectoryBalance()
    objective.log_z.data.fill_(log_z)
    objective.started.fill_(True)
    return objective


def sub_balance(log_z: float) -> Objective:
    """Sub-trajectory balance with its log Z at a value."""
    objective = objective_of(OneStepBridge(A, B, S), Loss.SUBTB)
    assert isinstance(objective, SubTrajectoryBalance)
    objective.log_z.data.fill_(log_z)
    objective.started.fill_(True)
    return objective


def balance_gradient(log_z: float) -> tuple[float, float, float]:
    """E[(log Z + W) grad(log q - log p)] = LV / 2 - (log Z - ELBO) E[grad log p], for any batch size."""
    off, drift = log_z - ELBO, A + B
    grad_log_p = (0.0, -drift / S**2, drift**2 / S**3)
    first, second, third = (half - off * g for half, g in zip(HALF_LOG_VARIANCE, grad_log_p, strict=True))
    return first, second, third


T = 0.4
AT_SNAPSHOT = (T * REVERSE_KL[0], T * REVERSE_KL[1], T * REVERSE_KL[2])


def at_snapshot(weights: PathWeights) -> PathCoefficients:
    """The trust region's loss right after its paths were drawn."""
    return trust_region_log_variance(weights, weights.log_q + T * weights.log_weight, T)


Recipe = tuple[Callable[[], Objective], tuple[float, float, float]]
GOLDEN: dict[str, Recipe] = {
    "rkl-ld": (lambda: DetachedObjective(reverse_kl_log_derivative), REVERSE_KL),
    "rkl-ld, reward to go": (lambda: DetachedObjective(reverse_kl_reward_to_go), REVERSE_KL),
    "rkl-r": (lambda: ReparametrisedObjective(path_gradient=False), REVERSE_KL),
    "rkl-stl": (lambda: ReparametrisedObjective(path_gradient=True), REVERSE_KL),
    "lv": (lambda: DetachedObjective(log_variance), HALF_LOG_VARIANCE),
    "tb, log Z at its optimum": (lambda: balance(ELBO), HALF_LOG_VARIANCE),
    "tb, log Z elsewhere": (lambda: balance(ELBO + 1.5), balance_gradient(ELBO + 1.5)),
    # One step has one piece, the path: sub-trajectory balance is trajectory balance there.
    "subtb, log Z elsewhere": (lambda: sub_balance(ELBO + 1.5), balance_gradient(ELBO + 1.5)),
    "tr-lv, at the snapshot": (lambda: DetachedObjective(at_snapshot), AT_SNAPSHOT),
}

# Its coefficients are no polynomials of the noise, so that the grid is not exact for it.
CONTROLLED: dict[str, Recipe] = {
    "rkl-ld, controlled": (lambda: DetachedObjective(reverse_kl_controlled), REVERSE_KL),
}


def test_golden_numbers_follow_from_the_formulas() -> None:
    drift, pull = (A + B) / S**2, (A - M) / TAU**2
    assert pytest.approx((drift + pull, drift, S / TAU**2 - (A + B) ** 2 / S**3)) == REVERSE_KL
    assert (
        pytest.approx((drift + pull, drift + pull, -2 * drift * ((A + B) / S + S * (A - M) / TAU**2)))
        == HALF_LOG_VARIANCE
    )


Leak = Callable[[Bridge, Target, Tensor], object]


def quadrature() -> Iterator[tuple[float, Tensor]]:
    """Weights and noises, `2 x 2 x 1` (x_0 and eps of two paths), of the product grid."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    weights = weights / weights.sum()
    for index in itertools.product(range(3), repeat=4):
        noise = torch.tensor([nodes[i] for i in index], dtype=torch.float64).reshape(2, 2, 1)
        yield float(np.prod([weights[i] for i in index])), noise


def estimator_of(make: Callable[[], Objective]) -> Leak:
    """One gradient of a new objective on given noise."""

    def estimate(bridge: Bridge, target: Target, noise: Tensor) -> None:
        make().gradient(bridge, target, GivenNoise.of(noise), noise.shape[1])

    return estimate


def gradient_of(estimator: Leak, noise: Tensor) -> Tensor:
    bridge = OneStepBridge(A, B, S)
    estimator(bridge, UnnormalisedNormal(M, TAU), noise)
    return torch.stack([p.grad if p.grad is not None else torch.zeros_like(p) for p in bridge.parameters()])


def expected_gradient(estimator: Leak) -> list[float]:
    total = torch.zeros(3, dtype=torch.float64)
    for weight, noise in quadrature():
        total += weight * gradient_of(estimator, noise)
    return total.tolist()


@pytest.mark.parametrize("name", GOLDEN)
def test_expected_gradient_is_the_closed_form(name: str) -> None:
    make, golden = GOLDEN[name]
    assert expected_gradient(estimator_of(make)) == pytest.approx(golden, abs=1e-10)


@pytest.mark.parametrize("name", [*GOLDEN, *CONTROLLED])
def test_monte_carlo_twin(name: str) -> None:
    make, golden = (GOLDEN | CONTROLLED)[name]
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(200):
        noise = torch.from_numpy(rng.standard_normal((2, 16_000, 1)))
        draws.append(gradient_of(estimator_of(make), noise).numpy())
    errors = np.std(draws, axis=0, ddof=1) / np.sqrt(len(draws))
    assert (errors <= 0.02).all(), errors
    assert (np.abs(np.mean(draws, axis=0) - golden) <= 4 * errors).all()


def test_balance_learns_log_z_towards_the_elbo() -> None:
    """d TB / d log Z = log Z - ELBO in expectation: the optimum is the ELBO, which is log Z once the weights agree."""
    total = 0.0
    for weight, noise in quadrature():
        objective = balance(0.7)
        objective.gradient(OneStepBridge(A, B, S), UnnormalisedNormal(M, TAU), GivenNoise.of(noise), 2)
        (log_z,) = objective.parameters()
        assert log_z.grad is not None
        total += weight * float(log_z.grad)
    assert total == pytest.approx(0.7 - ELBO, abs=1e-10)


def test_forward_kl_is_the_gradient_of_the_eubo() -> None:
    """x_1 ~ N(m, tau^2), x_0 ~ N(x_1 + b, s^2): EUBO = const + ((m+b)^2 + tau^2 + s^2) / 2 + ((a+b)^2 + s^2) / (2 s^2).

    The backward kernels are what the expectation is over, so that b and s need the score function's term.
    """
    golden = ((A + B) / S**2, M + B + (A + B) / S**2, S - (A + B) ** 2 / S**3)
    total = torch.zeros(3, dtype=torch.float64)
    for weight, noise in quadrature():
        bridge = OneStepBridge(A, B, S)
        rows = torch.cat([torch.zeros_like(noise[:1]), noise[1:]])
        path = simulate_backward(bridge, NORMAL, M + TAU * noise[0], rows)
        objective_module.descend(bridge, path, forward_kl)
        total += weight * torch.stack([p.grad for p in bridge.parameters() if p.grad is not None])
    assert total.tolist() == pytest.approx(golden, abs=1e-10)


def _without_leave_one_out(loss: DetachedLoss) -> DetachedLoss:
    """The loss as published: the own sample stays in the baseline, which halves the term for batches of two."""

    def published(weights: PathWeights) -> PathCoefficients:
        n = weights.log_weight.shape[0]
        exact = loss(weights)
        share = (n - 1) / n
        backward = exact.backward * share if loss is log_variance else exact.backward
        return PathCoefficients(exact.start * share, exact.forward * share, backward, exact.shared)

    return published


@pytest.mark.parametrize(
    ("loss", "golden"), [(reverse_kl_log_derivative, REVERSE_KL), (log_variance, HALF_LOG_VARIANCE)]
)
def test_the_leave_one_out_factor_is_needed(loss: DetachedLoss, golden: tuple[float, float, float]) -> None:
    leak = estimator_of(lambda: DetachedObjective(_without_leave_one_out(loss)))
    assert expected_gradient(leak) != pytest.approx(golden, abs=0.1)


def _surrogate(loss: DetachedLoss, bridge: Bridge, path: Path, constant: bool) -> Tensor:
    increments, start = bridge.increments(path, 0, 1), bridge.start_log_density(path.state[0])
    end = path.log_density.double()
    parts = (increments.forward, increments.backward, start, end)
    weights = PathWeights.of(*(part.detach() for part in parts) if constant else parts)
    coefficients = loss(weights)
    terms = objective_module._inner(coefficients, increments, slice(None))
    return torch.stack([*terms, coefficients.start @ start]).sum()


def _leaking_paths(loss: DetachedLoss) -> Leak:
    def leak(bridge: Bridge, target: Target, noise: Tensor) -> None:
        _surrogate(loss, bridge, simulate(bridge, target, noise), True).backward()

    return leak


def _leaking_weights(loss: DetachedLoss) -> Leak:
    def leak(bridge: Bridge, target: Target, noise: Tensor) -> None:
        with torch.no_grad():
            path = simulate(bridge, target, noise)
        _surrogate(loss, bridge, path, False).backward()

    return leak


# A leak through the weights alone leaves rKL-LD's expectation as it is in this symmetric example; LV's doubles.
@pytest.mark.parametrize(
    ("leak", "golden"),
    [
        (_leaking_paths(reverse_kl_log_derivative), REVERSE_KL),
        (_leaking_paths(log_variance), HALF_LOG_VARIANCE),
        (_leaking_weights(log_variance), HALF_LOG_VARIANCE),
    ],
)
def test_paths_and_weights_must_be_constants(leak: Leak, golden: tuple[float, float, float]) -> None:
    assert expected_gradient(leak) != pytest.approx(golden, abs=0.01)


@pytest.mark.parametrize("loss", list(OBJECTIVES))
def test_what_a_gradient_returns_is_constant(loss: Loss) -> None:
    bridge = OneStepBridge(A, B, S)
    objective = objective_of(bridge, loss, NORMAL)
    gradient = objective.gradient(bridge, NORMAL, NoiseSource(0, 0, dtype=torch.float64), 4)
    assert not gradient.log_weight.requires_grad
