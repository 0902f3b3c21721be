"""Optimiser steps: a state in, a state and what happened out.

The learning rate follows a cosine over the budget, gradients are clipped by their global norm, and the noise of step n
is a function of (seed, n): a run can stop after any step and go on as if it had not.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gephyra.targets.base import Target

from .adam import Adam
from .bridge import Bridge
from .noise import NoiseSource
from .objective import Gradient, Objective
from .settings import Learn, TrainingSettings

__all__ = ["Optimiser", "load_bridge", "part_of"]

_CLIP_NORM = 1.0
# The cosine ends here, as a share of the peak: the last steps still average over noise.
_FINAL_RATE = 0.02
# Adam moves every coordinate by the rate, so what a step does to the law of a path grows with their number: beyond this
# dimension the rate falls like its root. In 1600 dimensions (LGCP, 300 s) the plain rate lost to the preconditioner's
# Gaussian, and this one ends level with it.
_PLAIN_DIM = 64
# A learned log Z moves by nats while networks move by hundredths.
_LOG_Z_RATE = 20.0


class Optimiser:
    """Adam on the parameters of a bridge and of its objective.

    Attributes:
        bridge: The bridge that is trained, in place.
        step: Steps done.
    """

    def __init__(self, bridge: Bridge, objective: Objective, settings: TrainingSettings) -> None:
        self.bridge, self.step = bridge, 0
        self._objective, self._settings = objective, settings
        named = list(_trained(bridge, objective))
        self._parameters = [parameter for _, parameter in named]
        self._rates = torch.cat([torch.full((p.numel(),), _rate(name, settings.learn)) for name, p in named])
        flat = self._flat()
        self._rates = self._rates.to(flat)
        self._adam = Adam(flat)
        self._average = flat.clone() if settings.ema else None

    def advance(self, target: Target, fraction: float) -> Gradient:
        """One step at `fraction` of the budget, in [0, 1].

        A batch without two finite paths, or with a gradient that is not finite, leaves the bridge as it is.
        """
        settings, like = self._settings, self._parameters[0] if self._parameters else torch.empty(0)
        for parameter in self._parameters:
            parameter.grad = None
        noise = NoiseSource(settings.seed, self.step, like.device, like.dtype)
        outcome = self._objective.gradient(self.bridge, target, noise, settings.batch_size)
        gradient = torch.cat([_gradient_of(parameter).flatten().to(like.dtype) for parameter in self._parameters])
        norm = float(gradient.norm())
        if 0.0 < norm < math.inf:
            rate = settings.learning_rate * _cosine(fraction) * min(1.0, _PLAIN_DIM / self.bridge.dim)
            direction = self._adam.direction(gradient * min(1.0, _CLIP_NORM / norm))
            self._move(direction.mul_(self._rates).mul_(-rate))
        self.step += 1
        self._note_average()
        return outcome

    def settle(self) -> None:
        """Replace the parameters by their average over the run, where the settings ask for one."""
        if self._average is not None:
            self._move(self._average - self._flat())

    def tensors(self) -> dict[str, Tensor]:
        """All that the next step depends on, besides the step count."""
        parts = {"bridge": self.bridge.state_dict(), "adam": self._adam.tensors()}
        parts |= {"objective": self._objective.state_dict(), "memory": self._objective.tensors()}
        if self._average is not None:
            parts["average"] = {"flat": self._average}
        return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}

    def restore(self, tensors: dict[str, Tensor], step: int, target: Target) -> None:
        """Go on from what `tensors` returned after `step` steps on `target`.

        Raises ValueError for tensors of another bridge.
        """
        load_bridge(self.bridge, tensors)
        self._adam.restore(part_of(tensors, "adam"))
        self._objective.load_state_dict(part_of(tensors, "objective"))
        self._objective.restore(part_of(tensors, "memory"), target)
        if self._average is not None:
            self._average = tensors["average.flat"].clone()
        self.step = step

    def _flat(self) -> Tensor:
        parts = [parameter.detach().flatten() for parameter in self._parameters]
        # A double, such as a learned log Z, is averaged and moved in the precision of the rest.
        return torch.cat([part.to(parts[0].dtype) for part in parts]) if parts else torch.zeros(0)

    def _note_average(self) -> None:
        if self._average is None:
            return
        # A short memory at first, so that the average forgets where it started.
        decay = min(self._settings.ema, (1.0 + self.step) / (10.0 + self.step))
        self._average.lerp_(self._flat(), 1.0 - decay)

    @torch.no_grad()
    def _move(self, change: Tensor) -> None:
        parts = change.split([parameter.numel() for parameter in self._parameters])
        for parameter, part in zip(self._parameters, parts, strict=True):
            parameter.add_(part.view_as(parameter))


def _trained(bridge: Bridge, objective: Objective) -> Iterator[tuple[str, nn.Parameter]]:
    for prefix, module in (("bridge", bridge), ("objective", objective)):
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                yield f"{prefix}.{name}", parameter


def _rate(name: str, learn: Learn) -> float:
    """Multiple of the learning rate for a parameter, by the part of the bridge that it belongs to."""
    rates = {
        "bridge.prior.": learn.prior_rate,
        "bridge.annealing.": learn.annealing_rate,
        "bridge.diffusion.raw_time": learn.time_rate,
        "bridge.diffusion.": learn.diffusion_rate,
        "objective.log_z": _LOG_Z_RATE,
    }
    return next((rate for prefix, rate in rates.items() if name.startswith(prefix)), 1.0)


def _gradient_of(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def part_of(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors named `part.*`, without that prefix."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_bridge(bridge: Bridge, tensors: dict[str, Tensor]) -> None:
    """Load the tensors named `bridge.*`. Raises ValueError where they are not exactly those of this bridge."""
    try:
        bridge.load_state_dict(part_of(tensors, "bridge"))
    except RuntimeError as error:
        raise ValueError(f"the stored parameters do not fit this bridge: {error}") from error


def _cosine(fraction: float) -> float:
    return _FINAL_RATE + (1.0 - _FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, fraction)))
