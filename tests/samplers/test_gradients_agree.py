"""Gradients of real bridges: two estimators agree, chunks do not matter, and each term reaches what it should."""

from functools import partial

import pytest
import torch

from gephyra.samplers import objective as objective_module
from gephyra.samplers import weigh as weigh_module
from gephyra.samplers.algorithms import BUILDERS
from gephyra.samplers.losses import PathCoefficients, reverse_kl_controlled, reverse_kl_log_derivative
from gephyra.samplers.noise import NoiseSource
from gephyra.samplers.objective import Objective
from gephyra.samplers.objectives.detached import DetachedObjective
from gephyra.samplers.objectives.reparametrised import ReparametrisedObjective
from gephyra.samplers.path import Path
from gephyra.samplers.settings import Loss, Method
from gephyra.samplers.weigh import PathWeights, spans
from gephyra.targets.gaussian import GaussianMixture
from tests.samplers.bridges import UnnormalisedNormal, objective_of, random_bridge
from tests.statistics import assert_mean_equals


def _log_derivative() -> Objective:
    return DetachedObjective(reverse_kl_controlled)


def _reparametrised() -> Objective:
    return ReparametrisedObjective(path_gradient=False)


@pytest.mark.parametrize("method", list(BUILDERS))
def test_log_derivative_and_reparametrised_gradients_agree(method: Method) -> None:
    """Every parameter of a real bridge has the same expected gradient under both estimators."""
    target = GaussianMixture([[-0.5, 0.2], [0.8, -0.3]], [0.6, 0.7], [0.5, 0.5])
    differences: dict[str, list[float]] = {}
    for batch in range(60):
        gradients = []
        for make in (_log_derivative, _reparametrised):
            bridge = random_bridge(method, 2, steps=3, networks=0.3, width=4, seed=1)
            make().gradient(bridge, target, NoiseSource(0, batch), 512)
            gradients.append({name: p.grad for name, p in bridge.named_parameters()})
        for name, first in gradients[0].items():
            second = gradients[1][name]
            if name == "annealing.raw_increments" and first is None:
                # No drift of this method is annealed.
                assert second is None
                continue
            assert first is not None
            assert second is not None
            # One random direction a parameter: a bounded number of comparisons with full power against any bias.
            direction = torch.randn(first.shape, generator=torch.Generator().manual_seed(7))
            differences.setdefault(name, []).append(float(((first - second) * direction).sum()))
    for values in differences.values():
        assert_mean_equals(values, 0.0)


@pytest.mark.parametrize("loss", [Loss.RKL_LD, Loss.LV, Loss.TB])
def test_chunks_do_not_change_the_gradient(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of bridges that are not frugal; those that are chunk by themselves (`test_sweep.py`)."""
    gradients = []
    for floats in (1, 3 * 16 * 2, 10**9):
        bridge = random_bridge(Method.DBS_UD, 2, steps=7, networks=0.3)
        for module in (objective_module, weigh_module):
            monkeypatch.setattr(module, "spans", partial(spans, chunk_floats=floats))
        objective = objective_of(bridge, loss, reward_to_go=loss is Loss.RKL_LD)
        objective.gradient(bridge, UnnormalisedNormal(0.5, 0.7, 2), NoiseSource(0, 0), 16)
        gradients.append(torch.cat([p.grad.flatten() for p in bridge.parameters() if p.grad is not None]))
    assert torch.allclose(gradients[0], gradients[2], rtol=1e-4, atol=1e-6)
    assert torch.allclose(gradients[1], gradients[2], rtol=1e-4, atol=1e-6)


def test_the_shared_term_reaches_shared_parameters_only() -> None:
    bridge = random_bridge(Method.CMCD, 2, networks=0.3)
    x = torch.randn(9, 5, 2, generator=torch.Generator().manual_seed(0))
    bridge.increments(Path(x, -2 * x, torch.zeros(9, 5)), 0, 8).shared.sum().backward()
    reached = {name for name, p in bridge.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert reached == {
        "prior.mean",
        "prior.log_scale",
        "annealing.raw_increments",
        "diffusion.log_sigma",
        "diffusion.raw_time",
    }


def _weights(log_weight: list[float]) -> PathWeights:
    none = torch.zeros(1, len(log_weight), dtype=torch.float64)
    return PathWeights.of(none, none, none[0], torch.tensor(log_weight, dtype=torch.float64))


def test_equal_weights_leave_no_noise() -> None:
    """At the optimum every coefficient of the controlled form vanishes; the plain one keeps those of log p."""
    zeros = torch.zeros(4, dtype=torch.float64)
    for part in reverse_kl_controlled(_weights([1.5] * 4)):
        assert torch.allclose(part, zeros, atol=1e-15)
    assert not torch.allclose(reverse_kl_log_derivative(_weights([1.5] * 4)).backward, zeros)


def test_the_control_variate_of_a_path_comes_from_the_others() -> None:
    """kappa_i sees the weights of j != i only: else the coefficient would not be independent of the path."""

    def kappa(last: float) -> PathCoefficients:
        return reverse_kl_controlled(_weights([0.3, -0.2, 0.1, last]))

    assert torch.allclose(kappa(0.0).shared[3], kappa(2.0).shared[3], rtol=1e-12)
    assert not torch.allclose(kappa(0.0).shared[0], kappa(2.0).shared[0])


def test_a_weight_beyond_all_others_is_no_division_by_zero() -> None:
    for part in reverse_kl_controlled(_weights([0.0, -800.0, -900.0])):
        assert bool(part.isfinite().all())
