"""Where the tensors of a training step live, on a device that is not the CPU.

No GPU is needed: tensors on the `meta` device have shapes but no values, and an operation that mixes them with those of
the CPU fails, as it would on a GPU. Which device everything is on is all that is checked.
"""

import pytest
import torch

from gephyra.samplers.algorithms import BUILDERS, build
from gephyra.samplers.algorithms.parts import Ingredients
from gephyra.samplers.components import Components
from gephyra.samplers.settings import Method, TrainingSettings
from gephyra.samplers.simulate import simulate_noting
from gephyra.targets.seeds import Seeds

_DIM, _BATCH, _STEPS = Seeds.dim, 8, 4
_MIXTURE = Components(
    torch.zeros(3, dtype=torch.float64),
    torch.zeros(3, _DIM, dtype=torch.float64),
    torch.eye(_DIM, dtype=torch.float64).expand(3, _DIM, _DIM),
)


@pytest.mark.parametrize("components", [None, _MIXTURE], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("method", BUILDERS)
def test_a_step_stays_on_the_device_of_its_bridge(method: Method, components: Components | None) -> None:
    settings = TrainingSettings(method=method, steps=_STEPS)
    bridge = build(Ingredients(_DIM, settings, torch.Generator(), components)).to("meta")
    noise = torch.empty(bridge.noise_rows, _BATCH, _DIM, device="meta")
    path = simulate_noting(bridge, Seeds(), noise)
    increments, start = bridge.increments(path, 0, _STEPS), bridge.start_log_density(path.state[0])
    parts = [*increments, start, path.state, path.score, path.log_densities]
    assert {part.device.type for part in parts} == {"meta"}
    torch.cat([part.flatten() for part in (*increments, start)]).sum().backward()
    gradients = [parameter.grad for parameter in bridge.parameters() if parameter.grad is not None]
    assert gradients
    assert {gradient.device.type for gradient in gradients} == {"meta"}


def test_it_sees_a_tensor_on_the_cpu() -> None:
    """The device does refuse to be mixed."""
    with pytest.raises(RuntimeError):
        torch.empty(_BATCH, device="meta") + torch.zeros(_BATCH)
