"""Log densities and scores of many points in float64, in calls of a bounded size."""

from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

__all__ = ["CALL_SIZE", "Evaluated", "evaluate", "log_densities"]

CALL_SIZE = 1024
"""Points in one call of the target, at most."""


class Evaluated(NamedTuple):
    """Log density `(n,)`, -inf where it or the score is not finite, and score `n x dim`, there 0."""

    log_density: Tensor
    score: Tensor


def evaluate(target: Target, x: Tensor) -> Evaluated:
    """Log density and score at points x, `n x dim`."""
    parts = [target.log_density_and_score(part) for part in x.split(CALL_SIZE)]
    log_density = torch.cat([part[0].double() for part in parts])
    score = torch.cat([part[1].double() for part in parts])
    usable = log_density.isfinite() & score.isfinite().all(1)
    return Evaluated(torch.where(usable, log_density, -torch.inf), torch.where(usable[:, None], score, 0.0))


def log_densities(target: Target, x: Tensor) -> Tensor:
    """Log density `(n,)` at points x, `n x dim`; -inf where it is not finite."""
    log_density = torch.cat([target.log_density(part).double() for part in x.split(CALL_SIZE)])
    return torch.where(log_density.isfinite(), log_density, -torch.inf)
