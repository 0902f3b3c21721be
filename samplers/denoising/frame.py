"""What a model knows of its data before it is trained: coordinates, a grid of levels, the Gaussian beside it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..stepper import join_parts, part_of
from .exact import GaussianDenoiser
from .level_head import level_frequencies
from .settings import DenoisingSettings, Head
from .standardise import DataTransform, inspect_columns, levels_of, standardise

__all__ = ["LOWEST", "Frame", "frame_of"]

LOWEST = -10.0
"""Lowest lambda: standardised data lose all but a thousandth of a nat a coordinate there."""
# Highest lambda: noise of a twentieth of the finest direction's spread; within these bounds.
_BEYOND_FINEST, _LEAST_HIGH, _MOST_HIGH = 6.0, 12.0, 20.0
# Data of so many different values are a grid of levels, if each turns up twice on average.
_MOST_LEVELS = 64
# Data that are said to be levels may have so many a column.
_MOST_ASKED = 256
# Added to variances of the Gaussian beside levels: columns may be constant.
_RIDGE = 1e-2


class Frame(NamedTuple):
    """The data's side of a model."""

    transform: DataTransform
    gaussian: GaussianDenoiser
    """With the moments of the training data, in the model's coordinates."""
    high: float
    """Highest lambda."""
    levels: Tensor | None
    """In the model's coordinates, `dim x count` with NaN for none; None for continuous data."""
    frequency: Tensor | None
    """Of each level in the training data."""
    caution: str | None = None
    """What to say of likelihoods of these columns."""

    def tensors(self) -> dict[str, Tensor]:
        """For a file; `from_tensors` inverts it."""
        parts = {"shift": self.transform.shift, "scale": self.transform.scale, "mean": self.gaussian.mean}
        parts |= {"covariance": self.gaussian.covariance, "high": torch.tensor(self.high, dtype=torch.float64)}
        if self.levels is not None and self.frequency is not None:
            parts |= {"levels": self.levels, "frequency": self.frequency}
        return join_parts({"frame": parts})

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], caution: str | None) -> "Frame":
        """Raises KeyError for missing tensors."""
        parts = part_of(tensors, "frame")
        gaussian = GaussianDenoiser(parts["mean"], parts["covariance"])
        transform = DataTransform(parts["shift"], parts["scale"])
        return cls(transform, gaussian, float(parts["high"]), parts.get("levels"), parts.get("frequency"), caution)


def frame_of(data: Tensor, names: Sequence[str], settings: DenoisingSettings, others: Tensor) -> Frame:
    """The frame of training data, `rows x dim` with dim names.

    What `others`, `rows x dim`, have are levels too: rows held out may hold a value that no row to train on does.

    Raises:
        ValueError: For data without a density where one is asked for, too many levels, or a value that is not finite.
    """
    columns, values = inspect_columns(data, names), data.double()
    grid = _grid(torch.cat([values, others.double()]), names, settings.head)
    if grid is not None:
        shared = bool((grid == grid[:1]).all())
        # Columns of one grid, as pixels are, keep one scale: a level then is the same number in all of them.
        transform = _together(values) if shared else standardise(values)
        inside = transform.to_model(values)
        levels = transform.to_model(grid.mT).mT
        variance = _covariance(inside) + _RIDGE * torch.eye(data.shape[1], dtype=torch.float64)
        gaussian = GaussianDenoiser(inside.mean(0), variance)
        return Frame(transform, gaussian, settings.high or _LEAST_HIGH, levels, level_frequencies(inside, levels))
    columns.refuse()
    transform = standardise(values)
    covariance = _covariance(transform.to_model(values))
    gaussian = GaussianDenoiser(torch.zeros(data.shape[1]), covariance)
    finest = float(torch.linalg.eigvalsh(covariance)[0].log())
    high = min(max(_LEAST_HIGH, _BEYOND_FINEST - finest), _MOST_HIGH)
    return Frame(transform, gaussian, settings.high or high, None, None, columns.caution)


def _grid(values: Tensor, names: Sequence[str], head: Head) -> Tensor | None:
    """The levels of each column: one grid for all where that is small, else a grid each."""
    if head is Head.CONTINUOUS:
        return None
    distinct: Tensor = values.unique()
    if len(distinct) <= _MOST_LEVELS:
        return distinct.expand(values.shape[1], -1).contiguous()
    if head is Head.LEVELS:
        # Values that hardly repeat lie as close as rounding lets them: no cell around a level would hold one alone.
        return levels_of(values, names, min(_MOST_ASKED, len(values) // 2))
    counts = [len(column.unique()) for column in values.mT]
    return levels_of(values, names) if max(counts) <= min(_MOST_LEVELS, len(values) // 2) else None


def _together(values: Tensor) -> DataTransform:
    dim = values.shape[1]
    return DataTransform(
        values.mean().expand(dim).clone(), values.std(correction=0).clamp(min=1e-12).expand(dim).clone()
    )


def _covariance(values: Tensor) -> Tensor:
    centred = values - values.mean(0)
    return centred.mT @ centred / len(values)
