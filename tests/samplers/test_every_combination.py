"""Every loss with every method: exactly the right parameters are reached, and a few steps change them to finite values.

Both tables are read, so that a new row joins by itself.
"""

import pytest
import torch
from torch import Tensor

from gephyra.samplers.algorithms import BUILDERS
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.noise import NoiseSource
from gephyra.samplers.objectives import OBJECTIVES
from gephyra.samplers.optimise import Optimiser
from gephyra.samplers.settings import Loss, Method, TrainingSettings
from gephyra.samplers.simulate import simulate
from gephyra.samplers.weigh import log_weights
from gephyra.targets.gaussian import GaussianMixture
from gephyra.targets.scaled import ScaledTarget
from tests.samplers.bridges import objective_of, random_bridge

TARGET = GaussianMixture([[-0.5, 0.2], [0.8, -0.3]], [[0.6, 0.6], [0.7, 0.7]], [0.5, 0.5])
METHODS = pytest.mark.parametrize("method", list(BUILDERS))


def bridge_of(method: Method) -> Bridge:
    return random_bridge(method, 2, steps=4, networks=0.1, sigma=0.7, scale=1.2)


def _touched(bridge: Bridge) -> set[str]:
    """Parameters with a gradient that is not zero; all of it must be finite."""
    gradients = {name: p.grad for name, p in bridge.named_parameters() if p.grad is not None}
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    return {name for name, gradient in gradients.items() if bool((gradient != 0).any())}


def depended_on(method: Method) -> set[str]:
    """Parameters that the density of a path depends on, under either chain."""
    bridge = bridge_of(method)
    with torch.no_grad():
        path = simulate(bridge, TARGET, NoiseSource(5, 0).normal((bridge.noise_rows, 8, 2)))
    increments = bridge.increments(path, 0, bridge.steps)
    uneven = torch.linspace(0.5, 1.5, 8, dtype=torch.float64)
    parts = [bridge.start_log_density(path.state[0]), increments.forward.sum(0), 0.7 * increments.backward.sum(0)]
    (sum(parts) * uneven).sum().backward()
    return _touched(bridge)


@METHODS
@pytest.mark.parametrize("loss", list(OBJECTIVES))
def test_every_loss_trains_every_method(method: Method, loss: Loss) -> None:
    bridge = bridge_of(method)
    before = {name: p.detach().clone() for name, p in bridge.named_parameters()}
    settings = TrainingSettings(method=method, loss=loss, steps=4, width=8, batch_size=32)
    optimiser = Optimiser(bridge, objective_of(bridge, loss, TARGET), settings)
    expected = depended_on(method)
    optimiser.advance(TARGET, 0.0)
    assert _touched(bridge) == expected
    optimiser.advance(TARGET, 0.3)
    optimiser.advance(TARGET, 0.6)
    for name, parameter in bridge.named_parameters():
        assert bool(parameter.isfinite().all()), name
        assert torch.equal(parameter, before[name]) == (name not in expected), name


@METHODS
def test_a_constant_factor_of_the_density_moves_log_weights_by_its_log(method: Method) -> None:
    bridge = bridge_of(method).double()
    noise = NoiseSource(6, 0, dtype=torch.float64).normal((bridge.noise_rows, 64, 2))

    def weights(log_constant: float) -> Tensor:
        target = ScaledTarget(TARGET, log_constant)
        with torch.no_grad():
            return log_weights(bridge, simulate(bridge, target, noise))

    assert torch.allclose(weights(7.0) - weights(0.0), torch.full((64,), 7.0, dtype=torch.float64), atol=1e-8)


# The first step of a balance loss sets its log Z to the batch's mean, and all others centre or differentiate it away.
@pytest.mark.parametrize("loss", list(OBJECTIVES))
def test_a_constant_factor_of_the_density_leaves_the_gradient(loss: Loss) -> None:
    gradients = []
    for log_constant in (0.0, 7.0):
        bridge = bridge_of(Method.DBS).double()
        target = ScaledTarget(TARGET, log_constant)
        objective_of(bridge, loss, TARGET).gradient(bridge, target, NoiseSource(6, 0, dtype=torch.float64), 32)
        gradients.append(torch.cat([p.grad.flatten() for p in bridge.parameters() if p.grad is not None]))
    # Sub-trajectory balance interpolates the energy: its inner flows take n / N of the constant, log Z the rest.
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-6, atol=1e-7)
