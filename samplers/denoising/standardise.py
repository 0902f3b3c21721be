"""Coordinates for a data set: columns of mean zero and variance one, and what is wrong with some columns.

A column that is constant, repeats few values or is a sum of others has no density, or an unbounded one: its negative
log likelihood can be made as low as one likes. Such columns are named, so that one can leave them out or treat them as
levels (`reconstruction`, `level_head`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Columns", "DataTransform", "inspect_columns", "levels_of", "standardise"]

# A column with fewer distinct values than this share of its rows counts as tied.
_TIED = 0.5
# A column whose distance from the span of the others is below this share of its own length depends on them.
_DEPENDENT = 1e-6


class Columns(NamedTuple):
    """Names of columns whose density is doubtful."""

    constant: tuple[str, ...]
    """One value only."""
    tied: tuple[str, ...]
    """More than one value, but fewer distinct ones than half the rows."""
    dependent: tuple[str, ...]
    """Not constant, but linear functions of columns before them."""

    def refuse(self) -> None:
        """Raise ValueError, naming them, where columns have no density: those that are constant or dependent."""
        found = {"constant": self.constant, "linear functions of others": self.dependent}
        came = "; ".join(f"{what}: {', '.join(names)}" for what, names in found.items() if names)
        if came:
            raise ValueError(
                f"these columns have no density ({came}): leave them out, or, if all columns lie on few values, train "
                "with head levels"
            )

    @property
    def caution(self) -> str | None:
        """What to say of a likelihood of tied columns; None where there are none."""
        if not self.tied:
            return None
        return (
            f"values repeat in {', '.join(self.tied)}: a density can grow without bound there, so the negative log "
            "likelihood means little below the spacing of the values; head levels is for data that do so in all columns"
        )


class DataTransform(NamedTuple):
    """x = shift + scale y, y the model's coordinates."""

    shift: Tensor
    """`(dim,)` float64."""
    scale: Tensor
    """`(dim,)` float64, positive."""

    def to_model(self, x: Tensor) -> Tensor:
        """y from x, both `rows x dim`, in x's element type."""
        return (x - self.shift.to(x)) / self.scale.to(x)

    def to_data(self, y: Tensor) -> Tensor:
        """x from y, both `rows x dim`, in y's element type."""
        return self.shift.to(y) + self.scale.to(y) * y

    @property
    def log_jacobian(self) -> float:
        """What a negative log density in model coordinates lacks of one in data coordinates, in nats."""
        return float(self.scale.log().sum())


def standardise(data: Tensor) -> DataTransform:
    """The transform to mean zero and variance one a column of data, `rows x dim`; constant columns keep their scale."""
    values = data.double()
    scale = values.std(0, correction=0)
    return DataTransform(values.mean(0), torch.where(_constant(values), 1.0, scale))


def inspect_columns(data: Tensor, names: Sequence[str]) -> Columns:
    """Which columns of data, `rows x dim` with dim names, have no proper density.

    Raises:
        ValueError: For another number of names, less than two rows, or a value that is not finite: its row and column.
    """
    values = data.double()
    if values.ndim != 2 or values.shape[1] != len(names) or len(values) < 2:
        raise ValueError(f"expected at least 2 rows of {len(names)} columns, got shape {tuple(values.shape)}")
    wrong = ~values.isfinite()
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"row {row}, column {names[column]}: expected a finite number, got {float(values[row, column])}"
        )
    constant = _constant(values)
    distinct = torch.tensor([len(column.unique()) for column in values.mT])
    return Columns(
        _named(names, constant),
        _named(names, ~constant & (distinct < _TIED * len(values))),
        _named(names, ~constant & _dependent(values, constant)),
    )


def levels_of(data: Tensor, names: Sequence[str], most: int = 256) -> Tensor:
    """The distinct values of each column of data, `rows x dim`: `dim x count` float64, increasing, then NaN.

    Raises:
        ValueError: Naming a column with more than `most` of them.
    """
    values = [column.unique() for column in data.double().mT]
    for name, found in zip(names, values, strict=True):
        if len(found) > most:
            raise ValueError(
                f"column {name} has {len(found)} distinct values, more than {most}: it is no grid of levels"
            )
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=torch.nan)


def _constant(values: Tensor) -> Tensor:
    return values.amin(0) == values.amax(0)


def _dependent(values: Tensor, constant: Tensor) -> Tensor:
    """Whether a column lies in the span of one and those before it, `(dim,)`."""
    centred = values - values.mean(0)
    unit = centred / torch.where(constant, 1.0, centred.norm(dim=0))
    beyond_rows = torch.arange(values.shape[1]) >= len(values) - 1
    if len(values) - 1 < values.shape[1]:
        unit = torch.cat([unit, unit.new_zeros(values.shape[1] + 1 - len(values), values.shape[1])])
    factor: Tensor = torch.linalg.qr(unit, mode="r").R
    distance = factor.diagonal().abs()
    return (distance < _DEPENDENT) | beyond_rows


def _named(names: Sequence[str], which: Tensor) -> tuple[str, ...]:
    return tuple(name for name, chosen in zip(names, which.tolist(), strict=True) if chosen)
