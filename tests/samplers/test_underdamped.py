"""Underdamped bridges: their densities are exactly the laws of their paths, whatever their parameters.

On short paths in two dimensions the change of variables from noise to path is a small matrix, so that the density of a
path follows from that of its noise without a formula of ours.
"""

import inspect
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gephyra.samplers.algorithms import BUILDERS, build
from gephyra.samplers.algorithms.parts import Ingredients
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.components import Components
from gephyra.samplers.losses import reverse_kl_log_derivative
from gephyra.samplers.noise import NoiseSource
from gephyra.samplers.objectives.detached import DetachedObjective
from gephyra.samplers.objectives.reparametrised import ReparametrisedObjective
from gephyra.samplers.optimise import Optimiser
from gephyra.samplers.path import Path
from gephyra.samplers.random import normal_noise, torch_generator
from gephyra.samplers.settings import Budget, Integrator, Method, TrainingSettings
from gephyra.samplers.simulate import simulate, simulate_backward
from gephyra.samplers.weigh import log_weights
from gephyra.targets.base import Target
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from tests.statistics import assert_mean_equals, standard_errors

METHODS = [method for method in BUILDERS if method.underdamped]
KINDS = [(method, integrator) for method in METHODS for integrator in Integrator]
TARGET = GaussianMixture([[-0.8, 0.0], [0.9, 0.5]], 0.7, [0.4, 0.6])
DIM, STEPS = 2, 3


def moved(
    method: Method, integrator: Integrator | None, by: float, *, steps: int = STEPS, dim: int = DIM, seed: int = 3
) -> Bridge:
    """A bridge in float64 with every parameter moved away from where it starts."""
    generator = torch_generator("tests", seed)
    settings = TrainingSettings(method=method, integrator=integrator, steps=steps, width=4)
    bridge = build(Ingredients(dim, settings, generator)).double()
    with torch.no_grad():
        for parameter in bridge.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
    return bridge


def coordinates(state: Tensor, integrator: Integrator) -> Tensor:
    """What is free in the states of one path: positions and v_0, with a closing O every v_n."""
    momenta = state[:1, 0, DIM:] if integrator is Integrator.OBAB else state[:, 0, DIM:]
    return torch.cat([state[:, 0, :DIM].flatten(), momenta.flatten()])


def normal_log_density(noise: Tensor) -> Tensor:
    return (-0.5 * noise.square() - 0.5 * math.log(2.0 * math.pi)).sum()


def log_law(coordinates_of: Callable[[Tensor], Tensor], noise: Tensor) -> float:
    """Log density of the coordinates that noise leads to."""
    jacobian = torch.autograd.functional.jacobian(coordinates_of, noise)
    return float(normal_log_density(noise) - torch.linalg.slogdet(jacobian.reshape(noise.numel(), -1))[1])


def draw(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, 1, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_q(bridge: Bridge, path: Path) -> float:
    return float(bridge.start_log_density(path.state[0]) + bridge.increments(path, 0, bridge.steps).forward.sum())


@pytest.mark.parametrize(("method", "integrator"), KINDS)
def test_forward_densities_are_the_law_of_forward_paths(method: Method, integrator: Integrator) -> None:
    bridge = moved(method, integrator, 0.3).requires_grad_(False)
    noise = draw(bridge.noise_rows, 0)
    expected = log_law(lambda e: coordinates(simulate(bridge, TARGET, e).state, integrator), noise)
    assert log_q(bridge, simulate(bridge, TARGET, noise)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("method", "integrator"), KINDS)
def test_backward_densities_are_the_law_of_backward_paths(method: Method, integrator: Integrator) -> None:
    bridge = moved(method, integrator, 0.3).requires_grad_(False)
    end, noise = draw(1, 1)[0], draw(1 + bridge.steps * bridge.step_rows, 2)
    live = inspect.unwrap(simulate_backward)

    def from_end(e: Tensor) -> Tensor:
        state = live(bridge, TARGET, end, e).state
        # The end point is given, not drawn.
        return coordinates(torch.cat([state[:-1], torch.cat([end, state[-1, :, DIM:]], -1)[None]]), integrator)

    kept = [i for i in range(len(from_end(noise))) if not STEPS * DIM <= i < (STEPS + 1) * DIM]
    expected = log_law(lambda e: from_end(e)[kept], noise)
    path = simulate_backward(bridge, TARGET, end, noise)
    assert float(bridge.increments(path, 0, STEPS).backward.sum()) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("method", "integrator"), KINDS)
def test_stored_paths_have_the_density_of_live_parameters(method: Method, integrator: Integrator) -> None:
    """A path of one bridge has, under another, the density of the noise that would lead there: what losses need."""
    other = moved(method, integrator, 0.3).requires_grad_(False)
    stored = simulate(other, TARGET, draw(other.noise_rows, 4))
    bridge = moved(method, integrator, 0.3, seed=5).requires_grad_(False)
    wanted = coordinates(stored.state, integrator)

    def reached(e: Tensor) -> Tensor:
        return coordinates(simulate(bridge, TARGET, e).state, integrator)

    noise = torch.zeros(bridge.noise_rows, 1, DIM, dtype=torch.float64)
    # Each coordinate is affine in its own noise given the earlier ones, so Newton's method ends.
    for _ in range(bridge.noise_rows + 1):
        jacobian = torch.autograd.functional.jacobian(reached, noise).reshape(noise.numel(), -1)
        noise = noise + torch.linalg.solve(jacobian, wanted - reached(noise)).reshape(noise.shape)
    assert torch.allclose(reached(noise), wanted, atol=1e-9)
    assert log_q(bridge, stored) == pytest.approx(log_law(reached, noise), abs=1e-8)


@pytest.mark.parametrize(("method", "integrator"), KINDS)
def test_chunks_of_time_give_the_same_increments(method: Method, integrator: Integrator) -> None:
    bridge = moved(method, integrator, 0.3, steps=5)
    path = simulate(bridge, TARGET, normal_noise((bridge.noise_rows, 4, DIM), "chunks", 0, 0).double())
    whole = bridge.increments(path, 0, 5)
    parts = [bridge.increments(path, first, last) for first, last in ((0, 2), (2, 3), (3, 5))]
    for rows, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.allclose(rows, torch.cat(pieces), atol=1e-10)


@pytest.mark.statistical
@pytest.mark.parametrize(("method", "integrator"), KINDS)
def test_weights_average_to_z_from_both_sides(method: Method, integrator: Integrator) -> None:
    bridge, paths = moved(method, integrator, 0.05, steps=6), 2**14
    noise = normal_noise((bridge.noise_rows + 1, paths, DIM), "unbiased", 0, 0).double()
    with torch.no_grad():
        forward = log_weights(bridge, simulate(bridge, TARGET, noise[:-1]))
        end = TARGET.sample(paths, torch_generator("exact", 0))
        rows = 1 + bridge.steps * bridge.step_rows
        backward = log_weights(bridge, simulate_backward(bridge, TARGET, end, noise[-rows:]))
    for weights in (forward.exp(), (-backward).exp()):
        assert float(weights.var()) < 100
        assert_mean_equals(weights, 1.0)
    assert float(forward.mean()) < standard_errors() * float(forward.std()) / paths**0.5
    assert float(backward.mean()) > -standard_errors() * float(backward.std()) / paths**0.5


@pytest.mark.statistical
@pytest.mark.parametrize(("method", "integrator"), [(Method.DBS_UD, None), (Method.CMCD_UD, Integrator.OBABO)])
def test_both_reverse_kl_gradients_agree(method: Method, integrator: Integrator | None) -> None:
    """Every parameter has the same expected gradient from constant and from reparametrised paths."""
    differences: dict[str, list[float]] = {}
    for batch in range(40):
        gradients = []
        for objective in (DetachedObjective(reverse_kl_log_derivative), ReparametrisedObjective(path_gradient=False)):
            bridge = moved(method, integrator, 0.1)
            objective.gradient(bridge, TARGET, NoiseSource(0, batch, dtype=torch.float64), 256)
            gradients.append({name: parameter.grad for name, parameter in bridge.named_parameters()})
        for name, first in gradients[0].items():
            second = gradients[1][name]
            assert first is not None
            assert second is not None
            assert bool((second != 0).any()), name
            direction = torch.randn(first.shape, generator=torch.Generator().manual_seed(7), dtype=first.dtype)
            differences.setdefault(name, []).append(float(((first - second) * direction).sum()))
    for values in differences.values():
        assert_mean_equals(values, 0.0)


@pytest.mark.parametrize("integrator", Integrator)
@pytest.mark.parametrize("method", METHODS)
def test_a_matched_prior_leaves_the_error_of_the_moves(method: Method, integrator: Integrator) -> None:
    """Target equal to the prior, no networks: all is reversible but the energy error of BAB, of order delta^2."""
    spreads = []
    for steps in (8, 64):
        bridge = moved(method, integrator, 0.0, steps=steps)
        noise = normal_noise((bridge.noise_rows, 1024, DIM), "matched", 0, 0).double()
        with torch.no_grad():
            # The same time at either number of steps.
            bridge.get_parameter("diffusion.log_time").fill_(math.log(2.0))
            bridge.get_parameter("diffusion.log_friction").fill_(math.log(4.0))
            log_weight = log_weights(bridge, simulate(bridge, Gaussian([0.0, 0.0], [1.0, 1.0]), noise))
        spreads.append(float(log_weight.std()))
    assert spreads[1] < spreads[0] / 8**1.6


def test_without_friction_and_control_a_bridge_is_a_flow() -> None:
    """Nothing is drawn but the start."""
    bridge = moved(Method.ULA_UD, Integrator.OBAB, 0.0, steps=32)
    with torch.no_grad():
        bridge.get_parameter("diffusion.log_friction").fill_(-18.0)
    noise = normal_noise((bridge.noise_rows, 64, DIM), "flow", 0, 0).double()
    other = torch.cat([noise[: bridge.start_rows], -noise[bridge.start_rows :]])
    with torch.no_grad():
        first, second = (simulate(bridge, TARGET, e).state[-1] for e in (noise, other))
    assert torch.allclose(first, second, atol=1e-2)


@pytest.mark.parametrize("components", [False, True], ids=["gaussian prior", "mixture prior"])
@pytest.mark.parametrize("dim", [1, 1600])
def test_it_trains_in_any_dimension(dim: int, components: bool) -> None:
    target: Target = Gaussian(torch.full((dim,), 0.3), torch.full((dim,), 0.8))
    settings = TrainingSettings(method=Method.DBS_UD, steps=4, width=8, batch_size=8, budget=Budget(iterations=3))
    mixture = Components(torch.zeros(2), torch.zeros(2, dim), torch.ones(2, dim)) if components else None
    bridge = build(Ingredients(dim, settings, torch_generator("tests", 0), mixture))
    optimiser = Optimiser(bridge, DetachedObjective(reverse_kl_log_derivative), settings)
    before = {name: value.clone() for name, value in bridge.state_dict().items()}
    for _ in range(3):
        assert bool(optimiser.advance(target, 0.0).log_weight.isfinite().all())
    after = bridge.state_dict()
    assert {name.split(".")[0] for name in before if bool((after[name] != before[name]).any())} == {
        "prior",
        "annealing",
        "diffusion",
        "forward_control",
        "backward_control",
    }


def test_obab_is_the_splitting_of_settings_that_name_none() -> None:
    rows = {integrator: moved(Method.DBS_UD, integrator, 0.0).step_rows for integrator in (None, *Integrator)}
    assert rows == {None: 1, Integrator.OBAB: 1, Integrator.OBABO: 2}
