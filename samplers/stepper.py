"""One optimiser for everything that is trained: Adam, a cosine over the budget, a clipped norm, averaged parameters.

What is trained and what gives the gradient is the caller's; a step is a state in, a state out.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from .adam import Adam
from .group import ALONE, Group

__all__ = ["Stepper", "cosine", "join_parts", "part_of"]

_CLIP_NORM = 1.0
# The cosine ends here, as a share of the peak: the last steps still average over noise.
_FINAL_RATE = 0.02

T = TypeVar("T")


class Stepper:
    """Adam on the parameters of named modules that require gradients.

    Args:
        modules: By the prefix of their parameters' names.
        learning_rate: At the start of the budget, positive.
        ema: Decay of the average of parameters, in [0, 1); 0: no average.
        multiple: Of the learning rate, by a parameter's name.
        decay: What matrices lose in a step, as a share and over the learning rate (Loshchilov and Hutter 2019).
        group: The workers whose gradients add up to one.

    Attributes:
        step: Steps done.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        learning_rate: float,
        ema: float,
        multiple: Callable[[str], float] = lambda name: 1.0,
        decay: float = 0.0,
        group: Group = ALONE,
    ) -> None:
        self._group = group
        self.step, self._learning_rate, self._ema = 0, learning_rate, ema
        named = list(_trained(modules))
        self._parameters = [parameter for _, parameter in named]
        flat = self.flat()
        self._rates = torch.cat([torch.full((p.numel(),), multiple(name)) for name, p in named]).to(flat)
        matrices = [torch.full((p.numel(),), decay if p.ndim > 1 else 0.0) for _, p in named]
        self._decay = torch.cat(matrices).to(flat) if decay else None
        self._adam = Adam(flat)
        self._average = flat.clone() if ema else None

    @property
    def like(self) -> Tensor:
        """A tensor on the device and in the element type of what is trained."""
        return self._parameters[0] if self._parameters else torch.empty(0)

    def advance(self, backward: Callable[[], T], rate: float) -> T:
        """One step at `rate` times the learning rate; `backward` fills `.grad` and tells what it saw.

        A gradient that is zero or not finite leaves the parameters as they are.
        """
        for parameter in self._parameters:
            parameter.grad = None
        outcome = backward()
        dtype = self.like.dtype
        gradient = torch.cat([_gradient_of(parameter).flatten().to(dtype) for parameter in self._parameters])
        gradient = self._group.sum(gradient)
        norm = float(gradient.norm())
        if 0.0 < norm < math.inf:
            direction = self._adam.direction(gradient * min(1.0, _CLIP_NORM / norm))
            if self._decay is not None:
                direction.addcmul_(self._decay, self.flat())
            self._move(direction.mul_(self._rates).mul_(-self._learning_rate * rate))
        self.step += 1
        self._note_average()
        return outcome

    def settle(self) -> None:
        """Replace the parameters by their average over the run, where there is one."""
        if self._average is not None:
            self.load(self._average)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """The average in place of the parameters for a while, where there is one."""
        now = self.flat()
        self.settle()
        try:
            yield
        finally:
            self.load(now)

    def flat(self) -> Tensor:
        """All parameters in one row."""
        parts = [parameter.detach().flatten() for parameter in self._parameters]
        # A double, such as a learned log Z, is averaged and moved in the precision of the rest.
        return torch.cat([part.to(parts[0].dtype) for part in parts]) if parts else torch.zeros(0)

    def load(self, flat: Tensor) -> None:
        """Put these parameters, a row as `flat` returned it, in place."""
        self._move(flat - self.flat())

    def restart(self, flat: Tensor) -> None:
        """Go on from these parameters, the average as well."""
        self.load(flat)
        if self._average is not None:
            self._average = flat.clone()

    def tensors(self) -> dict[str, Tensor]:
        """The moments and the average: with the parameters all that the next step depends on, the step count aside."""
        parts = {"adam": self._adam.tensors()}
        if self._average is not None:
            parts["average"] = {"flat": self._average}
        return join_parts(parts)

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Go on from what `tensors` returned after `step` steps. Raises ValueError for tensors of other parameters."""
        self._adam.restore(part_of(tensors, "adam"))
        if self._average is not None:
            self._average = tensors["average.flat"].to(self._average, copy=True)
        self.step = step

    def _note_average(self) -> None:
        if self._average is None:
            return
        # A short memory at first, so that the average forgets where it started.
        decay = min(self._ema, (1.0 + self.step) / (10.0 + self.step))
        self._average.lerp_(self.flat(), 1.0 - decay)

    @torch.no_grad()
    def _move(self, change: Tensor) -> None:
        parts = change.split([parameter.numel() for parameter in self._parameters])
        for parameter, part in zip(self._parameters, parts, strict=True):
            parameter.add_(part.view_as(parameter))


def join_parts(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of all parts, those of part `p` named `p.*`; `part_of` takes one out again."""
    return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}


def part_of(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors named `part.*`, without that prefix."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _trained(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                yield f"{prefix}.{name}", parameter


def _gradient_of(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def cosine(fraction: float) -> float:
    """Share of the peak rate at a fraction of the budget."""
    return _FINAL_RATE + (1.0 - _FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, fraction)))
