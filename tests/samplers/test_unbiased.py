"""E[w] = Z and ELBO <= log Z <= EUBO for every bridge, trained or not, whatever its networks.

Prior scales are chosen so that Var(w / Z) stays below 100, which is asserted: with it the mean of 2^14 weights is close
enough to normal for the false-alarm rate of tests/statistics.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import pytest
import torch

from gephyra.samplers.algorithms import BUILDERS
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.evaluate import block
from gephyra.samplers.optimise import Optimiser
from gephyra.samplers.random import normal_noise, torch_generator
from gephyra.samplers.settings import Budget, Loss, Method, TrainingSettings
from gephyra.samplers.simulate import simulate, simulate_backward
from gephyra.samplers.weigh import log_weights
from gephyra.targets.base import Target
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from gephyra.targets.wells import ManyWell
from tests.samplers.bridges import objective_of, random_bridge
from tests.statistics import assert_mean_equals, standard_errors

PATHS = 2**14


@dataclass(frozen=True)
class Case:
    """A target, and a bridge whose weights have a small variance on it."""

    target: Callable[[], Target]
    scale: float
    """Of the prior."""
    networks: float
    """Standard deviation of random network weights; stiff targets multiply what the networks do."""
    steps: int = 8
    sigma: float = 0.5
    """Diffusion coefficient for a time horizon of one."""
    learning_rate: float = 5e-3
    """Of the thirty steps of training, small where networks must stay small."""

    def bridge(self, method: Method, random_networks: bool) -> Bridge:
        networks = self.networks if random_networks else 0.0
        dim = self.target().dim
        return random_bridge(
            method, dim, steps=self.steps, scale=self.scale, sigma=self.sigma, networks=networks, seed=3
        )


CASES = {
    "gaussian": Case(lambda: Gaussian([0.3, -0.2, 0.1], [0.6, 0.9, 1.1]), scale=1.3, networks=0.2),
    "two modes": Case(
        lambda: GaussianMixture([[-1.5, 0.0], [1.5, 0.5]], [[0.6, 0.6], [0.6, 0.6]], [0.4, 0.6]),
        scale=1.3,
        networks=0.15,
    ),
    "many-well": Case(lambda: ManyWell(5, 5, 4.0), scale=2.0, networks=0.01, steps=256, sigma=2.0, learning_rate=1e-3),
}
# Many-well takes annealed Langevin steps: the others start with the whole score as their control, and untrained they
# leap out of wells this steep, so that their weights have no variance to speak of.
_LEAPING = {Method.DIS, Method.DDS, Method.PIS, Method.DIS_UD}
EVERY = [
    *product(BUILDERS, ("gaussian", "two modes")),
    *(pytest.param(m, "many-well", marks=pytest.mark.slow) for m in BUILDERS if m not in _LEAPING),
]
# Backward it is 1 / w that must not be heavy: the target's tails have to cover the prior's.
BACKWARD = {"gaussian": replace(CASES["gaussian"], scale=0.8), "two modes": replace(CASES["two modes"], scale=0.9)}


def trained(bridge: Bridge, target: Target, method: Method, learning_rate: float) -> Bridge:
    """Thirty optimiser steps on."""
    settings = TrainingSettings(
        method=method,
        budget=Budget(iterations=30),
        batch_size=128,
        steps=bridge.steps,
        width=8,
        learning_rate=learning_rate,
    )
    optimiser = Optimiser(bridge, objective_of(bridge, Loss.RKL_LD), settings)
    for step in range(30):
        optimiser.advance(target, step / 30)
    return bridge


def relative_weights(bridge: Bridge, target: Target) -> torch.Tensor:
    assert target.log_z is not None
    log_weight = block(bridge, target, "unbiased", 0, 0, PATHS)[1]
    return (log_weight - target.log_z).exp()


@pytest.mark.statistical
@pytest.mark.parametrize(
    "training", [pytest.param(False, id="untrained"), pytest.param(True, id="trained", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("random_networks", [False, True], ids=["zero networks", "random networks"])
@pytest.mark.parametrize(("method", "name"), EVERY)
def test_weights_average_to_z(method: Method, name: str, random_networks: bool, training: bool) -> None:
    case = CASES[name]
    target = case.target()
    bridge = case.bridge(method, random_networks)
    if training:
        trained(bridge, target, method, case.learning_rate)
    weights = relative_weights(bridge, target)
    assert float(weights.var()) < 100
    assert_mean_equals(weights, 1.0)
    log_weight = weights.log() + (target.log_z or 0.0)
    error = float(log_weight.std()) / PATHS**0.5
    assert float(log_weight.mean()) <= (target.log_z or 0.0) + standard_errors() * error


@pytest.mark.statistical
@pytest.mark.parametrize("random_networks", [False, True], ids=["zero networks", "random networks"])
@pytest.mark.parametrize("name", list(BACKWARD))
@pytest.mark.parametrize("method", list(BUILDERS))
def test_backward_paths_bound_log_z_from_above(method: Method, name: str, random_networks: bool) -> None:
    """Backward from exact draws, E[1 / w] = 1 / Z and the mean log weight is above log Z."""
    case = BACKWARD[name]
    target = case.target()
    bridge = case.bridge(method, random_networks)
    end = target.sample(PATHS, torch_generator("exact", 0))
    assert end is not None
    noise = normal_noise((1 + bridge.steps * bridge.step_rows, PATHS, target.dim), "back", 0, 0)
    path = simulate_backward(bridge, target, end.float(), noise)
    log_weight = log_weights(bridge, path) - (target.log_z or 0.0)
    inverse = (-log_weight).exp()
    assert float(inverse.var()) < 100
    assert_mean_equals(inverse, 1.0)
    assert float(log_weight.mean()) >= -standard_errors() * float(log_weight.std()) / PATHS**0.5


def test_a_matched_prior_without_diffusion_of_mass_gives_constant_weights() -> None:
    """Target equal to the prior, no control: forward and backward chains coincide as the step goes to zero."""
    spreads = []
    for steps in (8, 64):
        bridge = random_bridge(Method.CMCD, 2, steps=steps)
        log_weight = block(bridge, Gaussian([0.0, 0.0], [1.0, 1.0]), "matched", 0, 0, 4096)[1]
        spreads.append(float(log_weight.std()))
    assert spreads[1] < 0.25 * spreads[0]


@pytest.mark.parametrize("method", list(BUILDERS))
def test_a_batch_can_be_split(method: Method) -> None:
    """Paths do not see each other: half the noise gives half the log weights."""
    bridge, target = random_bridge(method, 5, networks=0.3), ManyWell(5, 5, 4.0)
    noise = normal_noise((bridge.noise_rows, 64, 5), "split", 0, 0)
    with torch.no_grad():
        whole = log_weights(bridge, simulate(bridge, target, noise))
        half = log_weights(bridge, simulate(bridge, target, noise[:, :32]))
    assert torch.allclose(whole[:32], half, rtol=1e-4, atol=1e-4)
