"""How far Metropolis steps moved a law that they should not move."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .resampling import ess_fraction

__all__ = ["Shift", "Weighted", "shift"]


class Weighted(NamedTuple):
    """Weighted draws."""

    x: Tensor
    """`n x dim`."""
    log_weight: Tensor
    """`(n,)` float64."""

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each coordinate, `(dim,)` float64; draws of weight zero do not count."""
        kept = self.log_weight > -torch.inf
        x, share = self.x[kept].double(), self.log_weight[kept].softmax(0)
        mean = share @ x
        return mean, (share @ (x - mean).square()).sqrt()


class Shift(NamedTuple):
    """See `PolishReport`, whose fields these are."""

    mean_shift: float
    sd_shift: float
    shift_se: float


def shift(before: Weighted, after: Weighted) -> Shift:
    """Compare two weighted samples of the same law; NaN where one has no positive weight or no spread.

    The standard error takes both as independent: draws that hardly move shift less by chance than it says.
    """
    (mean, sd), (new_mean, new_sd) = before.moments(), after.moments()
    sizes = [part.log_weight.shape[0] * ess_fraction(part.log_weight) for part in (before, after)]
    if min(sizes) == 0.0 or not bool((sd > 0).all() and (new_sd > 0).all()):
        return Shift(math.nan, math.nan, math.nan)
    return Shift(
        mean_shift=float(((new_mean - mean) / sd).abs().max()),
        sd_shift=float((new_sd / sd).log().abs().max()),
        shift_se=math.sqrt(sum(1.0 / size for size in sizes)),
    )
