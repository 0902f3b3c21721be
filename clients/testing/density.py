"""Checks of a density: its score, its independence of the batch, its support."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gephyra.targets.base import Target
from gephyra.targets.check import batch_finding, finite_finding, score_finding

from ..definition import Definition
from .loading import as_target
from .report import CheckReport, require

__all__ = ["check_batch", "check_score", "check_support"]


def check_score(
    target: Target | Definition, x: ArrayLike | Tensor | None = None, *, points: int = 64, seed: int = 0
) -> CheckReport:
    """The score is the gradient of the log density, by central differences along one random direction a point.

    Ten step sizes are tried and the one with the least error bound is used; what the differences cannot resolve is
    allowed for, so that the check holds for float32 densities too.

    Args:
        target: A target, or what a `from_...` function or `catalogue` returns.
        x: Points, `batch x dim`; None: `points` standard normal ones. -inf densities are left out.
        points: Number of points drawn.
        seed: Seed of points and directions.

    Raises:
        AssertionError: With the worst point, both slopes, and a common factor (such as a wrong sign) if there is one.
    """
    loaded, generator = as_target(target), torch.Generator().manual_seed(seed)
    finding = score_finding(loaded, _points(loaded, x, points, generator), generator)
    return require("check_score", finding.passed, finding.detail)


def check_batch(
    target: Target | Definition, x: ArrayLike | Tensor | None = None, *, points: int = 64, seed: int = 0
) -> CheckReport:
    """Each row's log density and score depend on that row alone: batches of 1, 2 and 17, another order, a second call.

    Arguments as in `check_score`.

    Raises:
        AssertionError: With the first row that differs by more than rounding, and how it was evaluated.
    """
    loaded, generator = as_target(target), torch.Generator().manual_seed(seed)
    finding = batch_finding(loaded, _points(loaded, x, points, generator), generator)
    return require("check_batch", finding.passed, finding.detail)


def check_support(
    target: Target | Definition, inside: ArrayLike | Tensor, outside: ArrayLike | Tensor | None = None
) -> CheckReport:
    """Inside the support log density and score are finite, outside the log density is -inf; never NaN, never +inf.

    Args:
        target: A target, or what a `from_...` function or `catalogue` returns.
        inside: Points of positive density, `batch x dim`.
        outside: Points of density zero, `batch x dim`; None: the support is everything.

    Raises:
        AssertionError: With the first point that breaks the rule.
    """
    loaded = as_target(target)
    finding = finite_finding(loaded, _tensor(inside))
    require("check_support", finding.passed, f"inside, {finding.detail}")
    if outside is None:
        return CheckReport("check_support", finding.detail)
    log_density = loaded.log_density(_tensor(outside))
    wrong = (log_density != -torch.inf).nonzero()[:, 0].tolist()
    detail = f"log density must be -inf at all {len(log_density)} points outside; "
    detail += f"point {wrong[0]} has {float(log_density[wrong[0]])}" if wrong else "it is"
    return require("check_support", not wrong, f"inside, {finding.detail}; {detail}")


def _points(target: Target, x: ArrayLike | Tensor | None, count: int, generator: torch.Generator) -> Tensor:
    if x is None:
        return torch.randn(count, target.dim, generator=generator, dtype=torch.float64)
    return _tensor(x)


def _tensor(x: ArrayLike | Tensor) -> Tensor:
    return x.detach() if isinstance(x, Tensor) else torch.from_numpy(np.array(x, dtype=np.float64))
