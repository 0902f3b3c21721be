"""A target that counts its evaluations: the budget that users pay for."""

import torch
from torch import Tensor

from gephyra.targets.base import Target

__all__ = ["CountedTarget"]


class CountedTarget(Target):
    """`target`, with the number of points it was asked about in `evaluations`."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.dim, self.log_z, self.sites = target.dim, target.log_z, target.sites
        self.evaluations = 0

    def sample(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Exact draws of the target, `count x dim`, or None; they are no evaluations."""
        return self.target.sample(count, generator)

    def _log_density(self, x: Tensor) -> Tensor:
        self.evaluations += x.shape[0]
        return self.target.log_density(x)

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.evaluations += x.shape[0]
        return self.target.log_density_and_score(x)

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        return self.target.constrain(x)
