"""A score against central differences of the log density, with an error bound for the differences themselves.

For a unit direction v, D(h) = (f(x + h v) - f(x - h v)) / 2h is off by rounding, about eps |f| / h, and by truncation,
about |D(h) - D(h / 4)|, or |D(h / 4) - D(h / 16)| if that is more: either may vanish by coincidence. Of ten step sizes
the one with the least sum of both errors is used, and that sum is allowed for.
"""

import torch
from torch import Tensor

from .base import Target

__all__ = ["compare_score"]

_STEPS = 0.5 * 4.0 ** -torch.arange(10, dtype=torch.float64)
_ROUNDINGS = 16.0
"""How many roundings of |f| a difference of log densities is trusted to stay within."""
_CONCLUSIVE = 0.1
"""Differences that may be off by more than this part of 1 + |slope| decide nothing."""


def compare_score(target: Target, x: Tensor, generator: torch.Generator, eps: float) -> tuple[bool, str]:
    """Compare at points x, `batch x dim`, along one random direction each.

    Args:
        target: The target.
        x: Points; those where the log density is not finite are left out.
        generator: Source of the directions.
        eps: Rounding unit of the target's log density.

    Returns:
        Whether score and differences agree, and a sentence with the largest deviation.
    """
    log_density, score = target.log_density_and_score(x)
    keep = log_density.isfinite() & score.isfinite().all(-1)
    x, score = x[keep], score[keep]
    direction = torch.randn(x.shape, generator=generator, device=generator.device, dtype=torch.float64).to(x)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    slope = (score * direction).sum(-1)
    difference, error = _best_differences(target, x, direction, eps)
    conclusive = error <= _CONCLUSIVE * (1 + difference.abs())
    if 2 * int(conclusive.sum()) < max(2, len(x)):
        return False, f"central differences decide nothing at most of {len(keep)} points: the log density is too rough"
    deviation = (slope - difference).abs() / (1 + difference.abs())
    allowed = 3 * error / (1 + difference.abs()) + 1e3 * eps
    wrong = conclusive & ~(deviation <= allowed)
    seen = f"at {int(conclusive.sum())} of {len(keep)} points"
    if not wrong.any():
        return (
            True,
            f"score and central differences agree {seen}: deviation at most {_worst(deviation, conclusive):.1e}",
        )
    worst = int(torch.where(wrong, deviation, -1.0).argmax())
    detail = (
        f"score and central differences disagree at {int(wrong.sum())} of {int(conclusive.sum())} points; "
        f"at point {worst} the slope along a random direction is {float(slope[worst]):.6g} by the score and "
        f"{float(difference[worst]):.6g} by differences (within {float(error[worst]):.1e})"
        f"{_diagnosis(slope[wrong], difference[wrong])}"
    )
    return False, detail


def _best_differences(target: Target, x: Tensor, direction: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Central difference with the least error bound, and that bound (inf where there is none), both `(batch,)`."""
    steps = _STEPS.to(x)
    offsets = steps[:, None, None] * direction
    above, below = (target.log_density((x + sign * offsets).flatten(0, 1)).reshape(len(steps), -1) for sign in (1, -1))
    differences = (above - below) / (2 * steps[:, None])
    rounding = _ROUNDINGS * eps * (1 + torch.maximum(above.abs(), below.abs())) / steps[:, None]
    change = (differences[:-1] - differences[1:]).abs()
    error = rounding[:-2] + torch.maximum(change[:-1], change[1:])
    error = torch.where(error.isnan(), torch.inf, error)
    best = error.argmin(0, keepdim=True)
    return differences.gather(0, best)[0], error.gather(0, best)[0]


def _diagnosis(slope: Tensor, difference: Tensor) -> str:
    """What a common factor between the two suggests, or nothing."""
    ratio = (slope / difference).median()
    if ratio == 0 or not torch.isclose(slope, ratio * difference, rtol=1e-3).all():
        return ""
    return (
        ": the sign of the score is wrong"
        if torch.isclose(ratio, -torch.ones_like(ratio), rtol=1e-3)
        else (f": the score is the gradient times {float(ratio):.4g}")
    )


def _worst(deviation: Tensor, conclusive: Tensor) -> float:
    return float(deviation[conclusive].max())
