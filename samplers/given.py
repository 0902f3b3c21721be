"""Draws of the target that a caller brings along: what a run learns from, and what it is judged and measured on.

Copies of one row, as a Metropolis chain leaves them, always go to the same part: a row that was trained on must not
come back as one that was not.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .evaluate import Pool
from .random import torch_generator

__all__ = ["GivenDraws", "checked_rows", "part_rows"]

_LEAST_ROWS = 16
# Of the distinct rows: half are kept for the report, an eighth of the rest judges when to stop learning.
_MEASURED, _JUDGED = 0.5, 0.0625


class GivenDraws(NamedTuple):
    """Rows in a bridge's coordinates, each `count x dim`, and no distinct row in two of them."""

    training: Tensor
    judging: Tensor
    measuring: Tensor

    def pool(self, most: int) -> Pool:
        """At most so many rows of those for the report; copies count as one draw."""
        u = self.measuring[:most]
        _, copies = u.unique(dim=0, return_inverse=True)
        return Pool(u, torch.zeros(u.shape[0], dtype=torch.float64), copies)


def checked_rows(samples: Tensor, target: Target) -> Tensor:
    """The rows, `rows x dim` in float64, column i being unconstrained coordinate i of the target.

    Raises ValueError for another shape, values that are not finite, or too few distinct rows.
    """
    if samples.ndim != 2 or samples.shape[1] != target.dim:
        raise ValueError(
            f"samples must have shape (rows, {target.dim}), a column for each unconstrained coordinate of the target"
            f"{_columns(target)}, got {tuple(samples.shape)}"
        )
    wrong = (~samples.isfinite()).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        raise ValueError(f"samples must be finite, got {float(samples[row, column])} in row {row}, column {column}")
    distinct = len(samples.unique(dim=0))
    if distinct < _LEAST_ROWS:
        raise ValueError(f"samples must have {_LEAST_ROWS} distinct rows or more, got {distinct}")
    return samples.double()


def part_rows(u: Tensor, seed: int) -> GivenDraws:
    """Part rows `rows x dim` at random, in the same way whenever they come with this seed."""
    distinct, copies = u.unique(dim=0, return_inverse=True)
    count, generator = len(distinct), torch_generator("given/parts", seed)
    rank = torch.randperm(count, generator=generator)[copies]
    # In random order too: whoever takes the first rows of a chain takes a piece of it.
    order = torch.randperm(len(u), generator=generator)
    u, rank = u[order], rank[order]
    measured = round(_MEASURED * count)
    judged = measured + max(2, round(_JUDGED * count))
    return GivenDraws(u[rank >= judged], u[(measured <= rank) & (rank < judged)], u[rank < measured])


def _columns(target: Target) -> str:
    """Which sites these are, where the target has any."""
    if not target.sites:
        return ""
    return " (sites in order: " + ", ".join(f"{site.name} {tuple(site.shape)}" for site in target.sites) + ")"
