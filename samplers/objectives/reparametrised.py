"""The reverse KL through the simulation: paths carry gradients, target score and all (memory grows with the steps).

For targets without second derivatives (captured JAX programs) the score is a constant of the simulation: the gradient
then lacks the terms through the score, and is biased.
"""

import torch
from torch import Tensor
from torch.func import functional_call

from gephyra.targets.base import Target

from ..bridge import Bridge
from ..noise import NoiseSource
from ..objective import Gradient, Objective
from ..path import Path
from ..simulate import simulate

__all__ = ["ReparametrisedObjective"]

_LEAST_PATHS = 2


class ReparametrisedObjective(Objective):
    """-ELBO on reparametrised paths.

    Args:
        path_gradient: Evaluate log q with constant parameters: "sticking the landing" (Roeder et al. 2017). The score
            term that this drops has zero expectation, and its noise does not vanish at the optimum.
    """

    def __init__(self, *, path_gradient: bool) -> None:
        super().__init__()
        self._path_gradient = path_gradient

    def gradient(self, bridge: Bridge, target: Target, noise: NoiseSource, batch: int) -> Gradient:
        normal, share = noise.own((bridge.noise_rows, batch, bridge.dim)), noise.share(batch)
        live = self._log_weight(bridge, target, normal)
        own = torch.where(live.detach().isfinite(), live.detach(), -torch.inf)
        log_weight, finite = share.gather(own), own.isfinite()
        count = int(log_weight.isfinite().sum())
        if count >= _LEAST_PATHS and bool(finite.any()):
            if not bool(finite.all()):
                # Zero times infinity in the backward pass would spoil the sum: draw the usable paths by themselves.
                live = self._log_weight(bridge, target, normal[:, finite])
            (-live.sum() / count).backward()
        return Gradient.of(log_weight)

    def _log_weight(self, bridge: Bridge, target: Target, normal: Tensor) -> Tensor:
        path = simulate(bridge, target, normal)
        backward = bridge.increments(path, 0, bridge.steps).backward.sum(0)
        return path.log_density.double() + backward - self._log_q(bridge, path)

    def _log_q(self, bridge: Bridge, path: Path) -> Tensor:
        if not self._path_gradient:
            return _log_q(bridge, path)
        constants = {name: parameter.detach() for name, parameter in bridge.named_parameters()}
        constant: Tensor = functional_call(_LogQ(bridge), {f"bridge.{k}": v for k, v in constants.items()}, (path,))
        return constant


class _LogQ(torch.nn.Module):
    """log q as a module, for `functional_call`."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self.bridge = bridge

    def forward(self, path: Path) -> Tensor:
        return _log_q(self.bridge, path)


def _log_q(bridge: Bridge, path: Path) -> Tensor:
    return bridge.start_log_density(path.state[0]) + bridge.increments(path, 0, bridge.steps).forward.sum(0)
