"""Controlled Monte Carlo diffusion (Vargas et al. 2024).

Annealed Langevin drift in both directions and one control u, used with opposite signs: v = -u.
Learned: u, the diffusion coefficients, the prior and the annealing.
"""

import torch

from ..control import Control
from ..overdamped import OverdampedBridge
from ..settings import TrainingSettings
from .parts import langevin_parts

__all__ = ["controlled_monte_carlo_diffusion"]


def controlled_monte_carlo_diffusion(
    dim: int, settings: TrainingSettings, generator: torch.Generator
) -> OverdampedBridge:
    """A CMCD bridge on R^dim; initial weights come from `generator`."""
    return OverdampedBridge(*langevin_parts(dim, settings), Control(dim, settings.width, generator), None)
