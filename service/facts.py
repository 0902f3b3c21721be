"""What is known of the columns of a data set: ends, distinct values, and whether a density makes sense there.

A constant column has no density. One whose values repeat (tied) has densities that grow without bound, so it is better
treated as levels, where there are few. `samplers/denoising/standardise.py` draws the same lines.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .store.records import ColumnFacts

__all__ = ["column_facts"]

# A column with fewer distinct values than this share of its rows is tied.
_TIED = 0.5
_MOST_LEVELS = 256


def column_facts(values: NDArray[Any], names: Sequence[str]) -> tuple[ColumnFacts, ...]:
    """Facts of each column of finite values, `rows x columns` with a name a column. One column at a time is loaded."""
    return tuple(_facts(np.sort(values[:, index]), name) for index, name in enumerate(names))


def _facts(ordered: NDArray[Any], name: str) -> ColumnFacts:
    """Of one column in increasing order, `(rows,)`."""
    distinct = 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
    constant, tied = distinct == 1, 1 < distinct < _TIED * len(ordered)
    return ColumnFacts(
        name=name, minimum=float(ordered[0]), maximum=float(ordered[-1]), distinct=distinct, constant=constant,
        tied=tied, on_levels=(constant or tied) and distinct <= _MOST_LEVELS,
    )  # fmt: skip
