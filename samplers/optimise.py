"""Optimiser steps on a bridge and its objective: a state in, a state and what happened out.

The noise of step n is a function of (seed, n): a run can stop after any step and go on as if it had not.
"""

from torch import Tensor

from gephyra.targets.base import Target

from .bridge import Bridge
from .group import ALONE, Group
from .noise import NoiseSource
from .objective import Gradient, Objective
from .settings import Learn, TrainingSettings
from .stepper import Stepper, join_parts, part_of

__all__ = ["Optimiser", "load_bridge"]

# Adam moves every coordinate by the rate, so what a step does to the law of a path grows with their number: beyond this
# dimension the rate falls like its root. In 1600 dimensions (LGCP, 300 s) the plain rate lost to the preconditioner's
# Gaussian, and this one ends level with it.
_PLAIN_DIM = 64
# A learned log Z moves by nats while networks move by hundredths.
_LOG_Z_RATE = 20.0
# A denoiser is deep: 2e-3, what models of data have in two dimensions, at the default rate of 5e-3.
_DENOISER_RATE = 0.4


class Optimiser:
    """The steps of one training run.

    Attributes:
        bridge: The bridge that is trained, in place.
    """

    def __init__(self, bridge: Bridge, objective: Objective, settings: TrainingSettings, group: Group = ALONE) -> None:
        self.bridge, self._objective, self._settings, self._group = bridge, objective, settings, group
        rate = settings.learning_rate * min(1.0, _PLAIN_DIM / bridge.dim)
        modules = {"bridge": bridge, "objective": objective}
        self._stepper = Stepper(modules, rate, settings.ema, lambda name: _multiple(name, settings.learn), group=group)

    @property
    def step(self) -> int:
        """Steps done."""
        return self._stepper.step

    def advance(self, target: Target, fraction: float) -> Gradient:
        """One step at `fraction` of the budget, in [0, 1].

        A batch without two finite paths, or with a gradient that is not finite, leaves the bridge as it is.
        """
        settings, like = self._settings, self._stepper.like
        noise = NoiseSource(settings.seed, self.step, like.device, like.dtype, self._group)
        batch, rate = settings.batch_size, self._objective.rate(fraction)
        return self._stepper.advance(lambda: self._objective.gradient(self.bridge, target, noise, batch), rate)

    def settle(self) -> None:
        """Replace the parameters by their average over the run, where the settings ask for one."""
        self._stepper.settle()

    def tensors(self) -> dict[str, Tensor]:
        """All that the next step depends on, besides the step count."""
        parts = {"bridge": self.bridge.state_dict(), "objective": self._objective.state_dict()}
        parts["memory"] = self._objective.tensors()
        return join_parts(parts) | self._stepper.tensors()

    def restore(self, tensors: dict[str, Tensor], step: int, target: Target) -> None:
        """Go on from what `tensors` returned after `step` steps on `target`.

        Raises ValueError for tensors of another bridge.
        """
        load_bridge(self.bridge, tensors)
        self._objective.load_state_dict(part_of(tensors, "objective"))
        self._objective.restore(part_of(tensors, "memory"), target, self._group)
        self._stepper.restore(tensors, step)


def _multiple(name: str, learn: Learn) -> float:
    """Of the learning rate for a parameter, by the part of the bridge that it belongs to."""
    rates = {
        "bridge.model.": _DENOISER_RATE,
        "bridge.prior.": learn.prior_rate,
        "bridge.annealing.": learn.annealing_rate,
        "bridge.diffusion.raw_time": learn.time_rate,
        "bridge.diffusion.": learn.diffusion_rate,
        "objective.log_z": _LOG_Z_RATE,
        "objective.after.log_z": _LOG_Z_RATE,
    }
    return next((rate for prefix, rate in rates.items() if name.startswith(prefix)), 1.0)


def load_bridge(bridge: Bridge, tensors: dict[str, Tensor]) -> None:
    """Load the tensors named `bridge.*`. Raises ValueError where they are not exactly those of this bridge."""
    try:
        bridge.load_state_dict(part_of(tensors, "bridge"))
    except RuntimeError as error:
        raise ValueError(f"the stored parameters do not fit this bridge: {error}") from error
