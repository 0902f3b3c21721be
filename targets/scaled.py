"""A target times a constant: the same law, another Z."""

import math

import torch
from torch import Tensor

from .base import Target

__all__ = ["ScaledTarget"]


class ScaledTarget(Target):
    """The density c gamma, with log Z raised by log c; draws, sites and the score stay what they were."""

    def __init__(self, target: Target, log_constant: float) -> None:
        """Take the target and log c. Raises ValueError if log c is not finite."""
        if not math.isfinite(log_constant):
            raise ValueError(f"log_constant must be finite, got {log_constant}")
        self.target, self.log_constant = target, log_constant
        self.dim, self.sites = target.dim, target.sites
        self.log_z = None if target.log_z is None else target.log_z + log_constant

    def sample(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Exact draws of the target, `count x dim`, or None."""
        return self.target.sample(count, generator)

    def _log_density(self, x: Tensor) -> Tensor:
        return self.target.log_density(x) + self.log_constant

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_density, score = self.target.log_density_and_score(x)
        return log_density + self.log_constant, score

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        return self.target.constrain(x)
