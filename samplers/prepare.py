"""Where optimisation starts: coordinates, the prior's components, and perhaps the parameters of an earlier sampler."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .algorithms import build
from .algorithms.parts import Ingredients
from .baseline import PriorBridge
from .bridge import Bridge
from .components import Components
from .coordinates import Coordinates
from .place import device_of, dtype_of
from .precondition import precondition
from .random import torch_generator
from .report import PreconditionReport
from .settings import TrainingSettings

__all__ = ["Prepared", "check_start", "new_baseline", "new_bridge", "prepare"]


class Prepared(NamedTuple):
    """Where optimisation starts."""

    coordinates: Coordinates
    components: Components | None
    """Of a mixture prior, in the coordinates."""
    report: PreconditionReport
    seconds: float
    """Of preconditioning."""
    draws: Tensor | None = None
    """Draws of the target in the coordinates, `count x dim`, as far as an earlier stage has any."""


def prepare(target: Target, settings: TrainingSettings, spent: Callable[[], float]) -> Prepared:
    """Find coordinates. `spent` tells the share of the time for it that has gone.

    Raises ValueError for a target that is finite nowhere the preconditioner looked.
    """
    found = precondition(settings.precondition, target, settings.seed, spent)
    return Prepared(found.coordinates, found.components, found.report, 0.0)


def new_bridge(dim: int, settings: TrainingSettings, components: Components | None) -> Bridge:
    """An untrained bridge, on its device. Raises ValueError for a device that is not there."""
    generator = torch_generator("init", settings.seed)
    bridge = build(Ingredients(dim, settings, generator, components))
    return bridge.to(device_of(settings.device), dtype_of(settings.precision))


def new_baseline(dim: int, settings: TrainingSettings, components: Components | None) -> PriorBridge:
    """The preconditioner's law by itself, on the device and in the precision of the bridge it stands in for."""
    prior = Ingredients(dim, settings, torch.Generator(), components).prior()
    return PriorBridge(prior).to(device_of(settings.device), dtype_of(settings.precision))


def check_start(settings: TrainingSettings, earlier: TrainingSettings, dim: int, earlier_dim: int) -> None:
    """Raises ValueError unless a run with `settings` can go on from a sampler trained with `earlier`."""
    if dim != earlier_dim:
        raise ValueError(f"start is a sampler of dimension {earlier_dim}, the target has {dim}")
    for name in ("method", "integrator", "steps", "width"):
        ours, theirs = getattr(settings, name), getattr(earlier, name)
        if ours != theirs:
            raise ValueError(
                f"start was trained with {name} {theirs}: give {name}={theirs} or leave start out, got {ours}"
            )
