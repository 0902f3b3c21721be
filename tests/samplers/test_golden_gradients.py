"""Gradients of the losses against closed forms and against each other.

The one-step bridge of samplers.md 2.8 has polynomial integrands, so a 5-node Gauss-Hermite product grid over batches of
two paths (four normal numbers) gives the expected gradient exactly, the leave-one-out factor included.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from gephyra.samplers import gradient as gradient_module
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.gradient import detached_gradient, reparametrised_gradient
from gephyra.samplers.losses import DetachedLoss, PathCoefficients, log_variance, reverse_kl_log_derivative
from gephyra.samplers.random import normal_noise
from gephyra.samplers.session import GRADIENTS
from gephyra.samplers.settings import Loss, Method
from gephyra.samplers.simulate import simulate
from gephyra.samplers.weigh import spans, weigh
from gephyra.targets.base import Target
from gephyra.targets.gaussian import GaussianMixture
from tests.samplers.bridges import OneStepBridge, UnnormalisedNormal, random_bridge
from tests.statistics import assert_mean_equals

A, B, S, M, TAU = 0.3, -0.5, 0.8, 1.0, 0.5
REVERSE_KL = (-3.1125, -0.3125, 3.121875)
HALF_LOG_VARIANCE = (-3.1125, -3.1125, -1.55625)
GOLDEN = {Loss.RKL_LD: REVERSE_KL, Loss.RKL_R: REVERSE_KL, Loss.LV: HALF_LOG_VARIANCE}


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
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    weights = weights / weights.sum()
    for index in itertools.product(range(5), repeat=4):
        noise = torch.tensor([nodes[i] for i in index], dtype=torch.float64).reshape(2, 2, 1)
        yield float(np.prod([weights[i] for i in index])), noise


def gradient_of(estimator: Leak, noise: Tensor) -> Tensor:
    bridge = OneStepBridge(A, B, S)
    estimator(bridge, UnnormalisedNormal(M, TAU), noise)
    return torch.stack([p.grad if p.grad is not None else torch.zeros_like(p) for p in bridge.parameters()])


def expected_gradient(estimator: Leak) -> list[float]:
    total = torch.zeros(3, dtype=torch.float64)
    for weight, noise in quadrature():
        total += weight * gradient_of(estimator, noise)
    return total.tolist()


@pytest.mark.parametrize("loss", list(Loss))
def test_expected_gradient_is_the_closed_form(loss: Loss) -> None:
    assert expected_gradient(GRADIENTS[loss]) == pytest.approx(GOLDEN[loss], abs=1e-10)


@pytest.mark.parametrize("loss", list(Loss))
def test_monte_carlo_twin(loss: Loss) -> None:
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(200):
        noise = torch.from_numpy(rng.standard_normal((2, 16_000, 1)))
        draws.append(gradient_of(GRADIENTS[loss], noise).numpy())
    errors = np.std(draws, axis=0, ddof=1) / np.sqrt(len(draws))
    assert (errors <= 0.02).all(), errors
    assert (np.abs(np.mean(draws, axis=0) - GOLDEN[loss]) <= 4 * errors).all()


def _without_leave_one_out(loss: DetachedLoss) -> DetachedLoss:
    """The loss as published: the own sample stays in the baseline, which halves the term for batches of two."""

    def published(log_weight: Tensor) -> PathCoefficients:
        n = log_weight.shape[0]
        exact = loss(log_weight)
        share = (n - 1) / n
        backward = exact.backward * share if loss is log_variance else exact.backward
        return PathCoefficients(exact.forward * share, backward, exact.shared)

    return published


@pytest.mark.parametrize(
    ("loss", "golden"), [(reverse_kl_log_derivative, REVERSE_KL), (log_variance, HALF_LOG_VARIANCE)]
)
def test_the_leave_one_out_factor_is_needed(loss: DetachedLoss, golden: tuple[float, float, float]) -> None:
    assert expected_gradient(detached_gradient(_without_leave_one_out(loss))) != pytest.approx(golden, abs=0.1)


def _leaking_paths(loss: DetachedLoss) -> Leak:
    def leak(bridge: Bridge, target: Target, noise: Tensor) -> None:
        path = simulate(bridge, target, noise)
        densities = weigh(bridge, path, 0, 1)
        log_weight = (path.log_density + densities.backward - densities.forward).detach()
        gradient_module._surrogate(loss(log_weight), densities).backward()

    return leak


def _leaking_weights(loss: DetachedLoss) -> Leak:
    def leak(bridge: Bridge, target: Target, noise: Tensor) -> None:
        with torch.no_grad():
            path = simulate(bridge, target, noise)
        densities = weigh(bridge, path, 0, 1)
        log_weight = path.log_density + densities.backward - densities.forward
        gradient_module._surrogate(loss(log_weight), densities).backward()

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


@pytest.mark.parametrize("loss", list(Loss))
def test_what_a_gradient_returns_is_constant(loss: Loss) -> None:
    gradient = GRADIENTS[loss](OneStepBridge(A, B, S), UnnormalisedNormal(M, TAU), next(quadrature())[1])
    assert not gradient.log_weight.requires_grad


@pytest.mark.parametrize("method", list(Method))
def test_log_derivative_and_reparametrised_gradients_agree(method: Method) -> None:
    """Every parameter of a real bridge has the same expected gradient under both estimators."""
    target = GaussianMixture([[-0.5, 0.2], [0.8, -0.3]], [0.6, 0.7], [0.5, 0.5])
    differences: dict[str, list[float]] = {}
    for batch in range(60):
        gradients = []
        for estimator in (detached_gradient(reverse_kl_log_derivative), reparametrised_gradient):
            bridge = random_bridge(method, 2, steps=3, networks=0.3, width=4, seed=1)
            estimator(bridge, target, normal_noise((4, 512, 2), "twin", 0, batch))
            gradients.append({name: p.grad for name, p in bridge.named_parameters()})
        for name, first in gradients[0].items():
            second = gradients[1][name]
            assert first is not None
            assert second is not None
            # One random direction a parameter: a bounded number of comparisons with full power against any bias.
            direction = torch.randn(first.shape, generator=torch.Generator().manual_seed(7))
            differences.setdefault(name, []).append(float(((first - second) * direction).sum()))
    for values in differences.values():
        assert_mean_equals(values, 0.0)


@pytest.mark.parametrize("loss", [Loss.RKL_LD, Loss.LV])
def test_chunks_do_not_change_the_gradient(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = []
    for floats in (1, 3 * 16 * 2, 10**9):
        bridge = random_bridge(Method.DBS, 2, steps=7, networks=0.3)
        monkeypatch.setattr(gradient_module, "spans", partial(spans, chunk_floats=floats))
        GRADIENTS[loss](bridge, UnnormalisedNormal(0.5, 0.7, 2), normal_noise((8, 16, 2), "chunks", 0, 0))
        gradients.append(torch.cat([p.grad.flatten() for p in bridge.parameters() if p.grad is not None]))
    assert torch.allclose(gradients[0], gradients[2], rtol=1e-4, atol=1e-6)
    assert torch.allclose(gradients[1], gradients[2], rtol=1e-4, atol=1e-6)


def test_the_shared_term_reaches_shared_parameters_only() -> None:
    bridge = random_bridge(Method.CMCD, 2, networks=0.3)
    x = torch.randn(9, 5, 2, generator=torch.Generator().manual_seed(0))
    shared = bridge.transitions(0, x, -2 * x).shared
    assert shared is not None
    shared.log_density(x[1:]).sum().backward()
    reached = {name for name, p in bridge.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert reached == {
        "prior.mean",
        "prior.log_scale",
        "annealing.raw_increments",
        "diffusion.log_sigma",
        "diffusion.raw_time",
    }
