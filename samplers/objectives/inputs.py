"""What objectives are made from."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..bridge import Bridge
from ..settings import TrainingSettings

__all__ = ["Draw", "ObjectiveInputs"]

Draw = Callable[[int, torch.Generator], Tensor]
"""(count, generator) -> draws of the target in the bridge's coordinates, `count x dim`; see `samples.py`."""


class ObjectiveInputs(NamedTuple):
    """Of one run."""

    settings: TrainingSettings
    bridge: Bridge
    """Untrained, on its device and in its precision."""
    generator: torch.Generator
    """Source of initial weights."""
    draw: Draw | None = None
    """None where nothing can give draws of the target."""
