"""Diffusion bridge sampler (Richter and Berner 2024; Blessing et al. 2025).

Annealed Langevin drift in both directions, a forward control u and an independent backward control v.
Learned: u, v, the diffusion coefficients, the prior and the annealing.
"""

import torch

from ..control import Control
from ..overdamped import OverdampedBridge
from ..settings import TrainingSettings
from .parts import langevin_parts

__all__ = ["diffusion_bridge_sampler"]


def diffusion_bridge_sampler(dim: int, settings: TrainingSettings, generator: torch.Generator) -> OverdampedBridge:
    """A DBS bridge on R^dim; initial weights come from `generator`."""
    forward, backward = (Control(dim, settings.width, generator) for _ in range(2))
    return OverdampedBridge(*langevin_parts(dim, settings), forward, backward)
