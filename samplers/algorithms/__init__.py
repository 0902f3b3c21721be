"""One file an algorithm: each composes a `Bridge` from parts and has neither a loop nor an optimiser.

`BUILDERS` is the table of all of them; a new algorithm is one file and one row.
"""

from collections.abc import Callable, Mapping

import torch

from ..bridge import Bridge
from ..settings import Method, TrainingSettings
from .cmcd import controlled_monte_carlo_diffusion
from .dbs import diffusion_bridge_sampler

__all__ = ["BUILDERS"]

BUILDERS: Mapping[Method, Callable[[int, TrainingSettings, torch.Generator], Bridge]] = {
    Method.DBS: diffusion_bridge_sampler,
    Method.CMCD: controlled_monte_carlo_diffusion,
}
