"""The last term of the ELBO: what it costs to tell x from its least noised version, -log p(x | z), in nats.

Continuous data have p(x | z) = N(z / alpha, exp(-lambda) I) at the highest lambda. Data on a grid of levels have a
probability there, either of one level out of all by that Gaussian, or of a cell whose points are all alike.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from gephyra.targets.constant import Constant

__all__ = ["Continuous", "Dequantised", "Discrete", "Reconstruction", "cell_widths", "level_index"]

# Data count as a level if they are within this share of the distance between levels.
_ON_LEVEL = 1e-3
_ROWS = 1024


class Reconstruction(ABC):
    """How data become points of the continuous space, and come back."""

    @abstractmethod
    def lift(self, x: Tensor, uniform: Tensor) -> Tensor:
        """Points to be noised, `batch x dim`, from data x and uniforms in [0, 1), both `batch x dim`."""

    @abstractmethod
    def nats(self, x: Tensor, eps: Tensor, log_snr: float) -> Tensor:
        """-log p(x | z), `(batch,)` float64, at z with noise eps and the highest lambda; x and eps `batch x dim`.

        Its mean over eps is what counts.
        """


class Continuous(Reconstruction):
    """A density, in the units of x. The mean over eps is taken: dim / 2 (log 2 pi e - lambda)."""

    def lift(self, x: Tensor, uniform: Tensor) -> Tensor:
        return x

    def nats(self, x: Tensor, eps: Tensor, log_snr: float) -> Tensor:
        return _entropy(x, log_snr)


class Dequantised(Reconstruction):
    """The probability of a level, bounded by the mean log density over its cell (Theis et al. 2016).

    Args:
        width: Widths of the cells around the levels, `(dim,)`, positive.
    """

    def __init__(self, width: Tensor) -> None:
        if not bool((width > 0).all()):
            raise ValueError(f"widths of cells must be positive, got {width.tolist()}")
        self._width = Constant(width)

    @property
    def log_volume(self) -> float:
        """Log of a cell's volume: a density becomes a probability when it is added."""
        return float(self._width.master.log().sum())

    def lift(self, x: Tensor, uniform: Tensor) -> Tensor:
        return x + self._width.like(x) * (uniform.to(x) - 0.5)

    def nats(self, x: Tensor, eps: Tensor, log_snr: float) -> Tensor:
        return _entropy(x, log_snr) - self.log_volume


class Discrete(Reconstruction):
    """The probability of a level of each dimension, a softmax of Gaussian log densities (Kingma et al. 2021).

    Args:
        levels: `dim x count`, increasing; NaN after the last of a dimension that has fewer.
    """

    def __init__(self, levels: Tensor) -> None:
        self._levels = Constant(levels)

    def lift(self, x: Tensor, uniform: Tensor) -> Tensor:
        return x

    def nats(self, x: Tensor, eps: Tensor, log_snr: float) -> Tensor:
        levels = self._levels.master
        there = torch.isnan(levels)
        seen = x.double() + math.exp(-0.5 * log_snr) * eps.double()
        logits = (-0.5 * math.exp(log_snr) * (seen[..., None] - levels).square()).masked_fill(there, -math.inf)
        chosen = level_index(x, levels)
        return -logits.log_softmax(-1).gather(-1, chosen[..., None]).squeeze(-1).sum(-1)


def level_index(x: Tensor, levels: Tensor) -> Tensor:
    """Which level, `dim x count` float64 with NaN for none, each value of x, `batch x dim`, is: `batch x dim`.

    Raises:
        ValueError: Naming row and column of a value that is no level.
    """
    levels = levels.to(x.device)
    # In parts: the distances of all rows from all levels may not fit memory.
    nearest = [(part.double()[..., None] - levels).abs().nan_to_num(nan=math.inf).min(-1) for part in x.split(_ROWS)]
    off = torch.cat([part.values for part in nearest]) > _ON_LEVEL * cell_widths(levels)
    if bool(off.any()):
        row, column = off.nonzero()[0].tolist()
        raise ValueError(f"row {row}, column {column}: {float(x[row, column])} is none of the levels of that column")
    return torch.cat([part.indices for part in nearest])


def cell_widths(levels: Tensor) -> Tensor:
    """The least distance between a dimension's levels, `dim x count` with NaN for none: `(dim,)`, 1 for one level.

    Cells of that width around levels do not overlap, so that their probabilities are those of a law.
    """
    if levels.shape[1] == 1:
        return torch.ones(len(levels), dtype=levels.dtype, device=levels.device)
    least = levels.diff(dim=1).nan_to_num(nan=math.inf).amin(1)
    return torch.where(least.isfinite(), least, 1.0)


def _entropy(x: Tensor, log_snr: float) -> Tensor:
    value = 0.5 * x.shape[1] * (math.log(2.0 * math.pi * math.e) - log_snr)
    return torch.full((x.shape[0],), value, dtype=torch.float64)
