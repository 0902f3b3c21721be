"""Where the horizon of an untrained bridge is left."""

import math

import pytest
import torch

from gephyra.samplers.algorithms import BUILDERS
from gephyra.samplers.components import Components
from gephyra.samplers.evaluate import path_noise
from gephyra.samplers.horizon import settle_horizon
from gephyra.samplers.prepare import new_bridge
from gephyra.samplers.settings import Method, TrainingSettings
from gephyra.samplers.simulate import simulate
from gephyra.samplers.weigh import log_weights
from gephyra.targets.base import Target
from gephyra.targets.catalogue import build

_PATHS = 256
_LANGEVIN = [method for method in Method if method.value.split("-")[0] in {"dbs", "cmcd", "mcd", "ula"}]


def _gaussian(scale: float) -> Target:
    return build("gaussian", {"mean": [0.5, 0.0], "covariance": [[scale**2, 0.0], [0.0, scale**2]]})


def _elbo(method: Method, target: Target, log_factor: float) -> float:
    bridge = new_bridge(2, TrainingSettings(method=method, steps=8), None)
    horizon = bridge.horizon
    assert horizon is not None
    with torch.no_grad():
        horizon.add_(log_factor)
        noise = path_noise(bridge, "horizon", 0, 0, _PATHS)
        return float(log_weights(bridge, simulate(bridge, target, noise)).mean())


@pytest.mark.parametrize("method", _LANGEVIN)
def test_it_is_the_first_that_no_shorter_one_beats(method: Method) -> None:
    # Narrower than the prior by five: Euler steps of the full horizon overshoot.
    target = _gaussian(0.2)
    bridge = new_bridge(2, TrainingSettings(method=method, steps=8), None)
    assert bridge.horizon is not None
    before = bridge.horizon.detach().clone()
    settle_horizon(bridge, target, 0, _PATHS)
    factor = float((bridge.horizon.detach() - before).exp()[0])
    tried = [1.0, 0.5, 0.25, 0.125]
    elbos = [_elbo(method, target, math.log(each)) for each in tried]
    falls = next((index for index in range(3) if elbos[index + 1] <= elbos[index]), 3)
    assert factor == pytest.approx(tried[falls], rel=1e-5)
    # Momentum smooths what an Euler step overshoots.
    assert factor < 1.0 or method.underdamped


def test_a_target_like_the_prior_keeps_a_long_horizon() -> None:
    bridge = new_bridge(2, TrainingSettings(), None)
    before = {name: value.clone() for name, value in bridge.state_dict().items()}
    settle_horizon(bridge, _gaussian(0.8), 0, _PATHS)
    after = bridge.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("method", [method for method in BUILDERS if method not in _LANGEVIN])
def test_a_process_that_has_to_arrive_keeps_its_own(method: Method) -> None:
    one = Components(torch.zeros(1).double(), torch.zeros(1, 2).double(), torch.eye(2)[None].double())
    bridge = new_bridge(2, TrainingSettings(method=method), None if method is Method.PIS else one)
    assert bridge.horizon is None
    before = {name: value.clone() for name, value in bridge.state_dict().items()}
    settle_horizon(bridge, _gaussian(0.2), 0, _PATHS)
    assert all(torch.equal(before[name], value) for name, value in bridge.state_dict().items())
