"""Examine a target by evaluating it: does it do what `base.Target` promises?

Each check is a function from a target and points to a `Finding`; `check_target` runs all of them on standard normal
points, the scale that unconstrained coordinates are expected to have.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .base import Target
from .differences import compare_score

__all__ = [
    "Finding",
    "batch_finding",
    "check_target",
    "finite_finding",
    "score_finding",
    "speed_finding",
    "working_eps",
]

_TAIL_SCALE = 10.0
_SPEED_BATCH = 1024
_SPEED_SECONDS = 0.2


class Finding(NamedTuple):
    """What one check saw."""

    check: str
    """`finite`, `tails`, `score`, `batch` or `speed`."""
    passed: bool
    detail: str
    """What was measured, in words with numbers; where it failed, where and how."""


def check_target(
    target: Target, points: int, generator: torch.Generator, clock: Callable[[], float] = time.perf_counter
) -> tuple[Finding, ...]:
    """Run every check at `points` standard normal points drawn from `generator`.

    A density that raises is a finding too, not an error.

    Raises:
        ValueError: For fewer than 2 points.
    """
    if points < 2:
        raise ValueError(f"points must be at least 2, got {points}")
    x = torch.randn(points, target.dim, generator=generator, device=generator.device, dtype=torch.float64)
    checks: dict[str, Callable[[], Finding]] = {
        "finite": lambda: finite_finding(target, x),
        "tails": lambda: finite_finding(target, _TAIL_SCALE * x, tails=True),
        "score": lambda: score_finding(target, x, generator),
        "batch": lambda: batch_finding(target, x, generator),
        "speed": lambda: speed_finding(target, x.float(), clock),
    }
    return tuple(_guarded(name, check) for name, check in checks.items())


def finite_finding(target: Target, x: Tensor, *, tails: bool = False) -> Finding:
    """Finite log density and score at points x, `batch x dim`; with `tails`, -inf is allowed, NaN and +inf are not."""
    log_density, score = target.log_density_and_score(x)
    bad_density = log_density.isnan() | (log_density == torch.inf)
    if not tails:
        bad_density = ~log_density.isfinite()
    bad_score = log_density.isfinite() & ~score.isfinite().all(-1)
    if not (bad_density | bad_score).any():
        zero = int((log_density == -torch.inf).sum())
        found = f"no NaN and no +inf, {zero} -inf" if tails else "log density and score are finite"
        return Finding("tails" if tails else "finite", True, f"{found} at {len(x)} points")
    worst = int((bad_density | bad_score).nonzero()[0, 0])
    what = (
        f"log density {float(log_density[worst])}"
        if bad_density[worst]
        else f"a score that is not finite: {score[worst]}"
    )
    detail = (
        f"log density not allowed at {int(bad_density.sum())} and score not finite at {int(bad_score.sum())} "
        f"of {len(x)} points; point {worst} has {what}"
    )
    return Finding("tails" if tails else "finite", False, detail)


def score_finding(target: Target, x: Tensor, generator: torch.Generator) -> Finding:
    """The score against central differences of the log density, along one random direction a point of x."""
    passed, detail = compare_score(target, x, generator, working_eps(target, x))
    return Finding("score", passed, detail)


def batch_finding(target: Target, x: Tensor, generator: torch.Generator) -> Finding:
    """Each row's result must not depend on the rows beside it: sizes 1, 2, 17, a permutation, the same call again."""
    whole = _joint(target, x)
    order = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
    attempts = {f"in batches of {size}": _joint(target, x, size) for size in (1, 2, 17) if size <= len(x)}
    attempts["in another order"] = _joint(target, x[order])[order.argsort()]
    attempts["a second time"] = _joint(target, x)
    # Summation order may differ between batch sizes: allow some hundred roundings of the row's largest number.
    allowed = 500 * working_eps(target, x) * (1 + whole.abs().nan_to_num().max(-1, keepdim=True).values)
    worst = torch.zeros(())
    for how, rows in attempts.items():
        difference = torch.where((rows == whole) | (rows.isnan() & whole.isnan()), 0.0, (rows - whole).abs())
        excess = torch.where(difference.isnan(), torch.inf, difference) > allowed
        if excess.any():
            row, column = (int(i) for i in excess.nonzero()[0])
            what = "log density" if column == 0 else f"score component {column - 1}"
            values = f"{float(whole[row, column]):.10g} in the whole batch and {float(rows[row, column]):.10g}"
            return Finding("batch", False, f"{what} of row {row} of {len(x)} is {values} {how}")
        worst = torch.maximum(worst, (difference / allowed).max())
    return Finding(
        "batch", True, f"rows agree {', '.join(attempts)}: at most {float(worst):.1%} of the allowed rounding"
    )


def speed_finding(target: Target, x: Tensor, clock: Callable[[], float] = time.perf_counter) -> Finding:
    """Evaluations of log density and score a second, rows of x repeated to batches of 1024."""
    batch = x[torch.arange(_SPEED_BATCH) % len(x)]
    target.log_density_and_score(batch)  # the first call may compile
    start, calls, seconds = clock(), 0, 0.0
    while seconds < _SPEED_SECONDS:
        target.log_density_and_score(batch)
        calls, seconds = calls + 1, clock() - start
    rate = calls * _SPEED_BATCH / seconds
    return Finding("speed", True, f"{rate:.3g} evaluations of log density and score a second, batch {_SPEED_BATCH}")


def working_eps(target: Target, x: Tensor) -> float:
    """The rounding unit the target computes in: that of x's type, or of float32 where all results are such."""
    log_density, score = target.log_density_and_score(x)
    results = torch.cat([log_density[:, None], score], dim=-1)
    single = bool(((results.float().to(results.dtype) == results) | results.isnan()).all())
    return torch.finfo(torch.float32 if single else x.dtype).eps


def _joint(target: Target, x: Tensor, size: int | None = None) -> Tensor:
    """Log density and score side by side, `batch x (1 + dim)`, evaluated in batches of `size`."""
    parts = [target.log_density_and_score(part) for part in x.split(size or len(x))]
    return torch.cat([torch.cat([log_density[:, None], score], dim=-1) for log_density, score in parts])


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return Finding(name, False, f"evaluation raised {type(error).__name__}: {error}")
