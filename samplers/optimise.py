"""Optimiser steps: a state in, a state and what happened out.

The learning rate follows a cosine over the budget, gradients are clipped by their global norm, and the noise of step n
is a function of (seed, n): a run can stop after any step and go on as if it had not.
"""

import math

import torch
from torch import Tensor, nn

from gephyra.targets.base import Target

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
        self._parameters = {name: p for name, p in bridge.named_parameters() if p.requires_grad}
        self._adam = torch.optim.Adam(self._parameters.values(), lr=settings.learning_rate)

    def advance(self, target: Target, fraction: float) -> Gradient:
        """One step at `fraction` of the budget, in [0, 1]; a batch without two finite paths leaves the bridge alone."""
        settings = self._settings
        noise = normal_noise(
            (self.bridge.steps + 1, settings.batch_size, self.bridge.dim), "train", settings.seed, self.step
        )
        self._adam.zero_grad(set_to_none=True)
        gradient = self._gradient(self.bridge, target, noise)
        norm = nn.utils.clip_grad_norm_(self._parameters.values(), _CLIP_NORM)
        if bool(norm.isfinite()):
            for group in self._adam.param_groups:
                group["lr"] = settings.learning_rate * _cosine(fraction)
            self._adam.step()
        self.step += 1
        return gradient

    def tensors(self) -> dict[str, Tensor]:
        """All that the next step depends on, besides the step count: parameters and moments under stable names."""
        tensors = {f"bridge.{name}": value for name, value in self.bridge.state_dict().items()}
        for name, parameter in self._parameters.items():
            state = self._adam.state[parameter]
            if state:
                tensors |= {f"adam.{name}.{key}": value for key, value in state.items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Go on from what `tensors` returned after `step` steps. Raises ValueError for tensors of another bridge."""
        load_bridge(self.bridge, tensors)
        keys = ("step", "exp_avg", "exp_avg_sq")
        for name, parameter in self._parameters.items():
            state = {key: tensors[f"adam.{name}.{key}"] for key in keys if f"adam.{name}.{key}" in tensors}
            if state:
                self._adam.state[parameter] = state
        self.step = step


def load_bridge(bridge: Bridge, tensors: dict[str, Tensor]) -> None:
    """Load the tensors named `bridge.*`. Raises ValueError where they are not exactly those of this bridge."""
    state = {name.removeprefix("bridge."): value for name, value in tensors.items() if name.startswith("bridge.")}
    try:
        bridge.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the stored parameters do not fit this bridge: {error}") from error


def _cosine(fraction: float) -> float:
    return _FINAL_RATE + (1.0 - _FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, fraction)))
