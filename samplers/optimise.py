"""Optimiser steps: a state in, a state and what happened out.

The learning rate follows a cosine over the budget, gradients are clipped by their global norm, and the noise of step n
is a function of (seed, n): a run can stop after any step and go on as if it had not.
"""

import math

import torch
from torch import Tensor, nn

from gephyra.targets.base import Target

from .adam import Adam
from .bridge import Bridge
from .gradient import Gradient, GradientOf
from .random import normal_noise
from .settings import TrainingSettings

__all__ = ["Optimiser", "load_bridge"]

_CLIP_NORM = 1.0
# The cosine ends here, as a share of the peak: the last steps still average over noise.
_FINAL_RATE = 0.02


class Optimiser:
    """Adam on the parameters of a bridge.

    Attributes:
        bridge: The bridge that is trained, in place.
        step: Steps done.
    """

    def __init__(self, bridge: Bridge, gradient: GradientOf, settings: TrainingSettings) -> None:
        self.bridge, self.step = bridge, 0
        self._gradient, self._settings = gradient, settings
        self._parameters = [parameter for parameter in bridge.parameters() if parameter.requires_grad]
        self._adam = Adam(torch.cat([parameter.detach().flatten() for parameter in self._parameters]))

    def advance(self, target: Target, fraction: float) -> Gradient:
        """One step at `fraction` of the budget, in [0, 1].

        A batch without two finite paths, or with a gradient that is not finite, leaves the bridge as it is.
        """
        settings = self._settings
        shape = (self.bridge.steps + 1, settings.batch_size, self.bridge.dim)
        noise = normal_noise(shape, "train", settings.seed, self.step)
        for parameter in self._parameters:
            parameter.grad = None
        outcome = self._gradient(self.bridge, target, noise)
        gradient = torch.cat([_gradient_of(parameter).flatten() for parameter in self._parameters])
        norm = float(gradient.norm())
        if 0.0 < norm < math.inf:
            rate = settings.learning_rate * _cosine(fraction)
            self._move(-rate * self._adam.direction(gradient * min(1.0, _CLIP_NORM / norm)))
        self.step += 1
        return outcome

    def tensors(self) -> dict[str, Tensor]:
        """All that the next step depends on, besides the step count: parameters and moments."""
        tensors = {f"bridge.{name}": value for name, value in self.bridge.state_dict().items()}
        return tensors | {f"adam.{name}": value for name, value in self._adam.tensors().items()}

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Go on from what `tensors` returned after `step` steps. Raises ValueError for tensors of another bridge."""
        load_bridge(self.bridge, tensors)
        prefix = "adam."
        self._adam.restore({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})
        self.step = step

    @torch.no_grad()
    def _move(self, change: Tensor) -> None:
        parts = change.split([parameter.numel() for parameter in self._parameters])
        for parameter, part in zip(self._parameters, parts, strict=True):
            parameter.add_(part.view_as(parameter))


def _gradient_of(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def load_bridge(bridge: Bridge, tensors: dict[str, Tensor]) -> None:
    """Load the tensors named `bridge.*`. Raises ValueError where they are not exactly those of this bridge."""
    state = {name.removeprefix("bridge."): value for name, value in tensors.items() if name.startswith("bridge.")}
    try:
        bridge.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the stored parameters do not fit this bridge: {error}") from error


def _cosine(fraction: float) -> float:
    return _FINAL_RATE + (1.0 - _FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, fraction)))
