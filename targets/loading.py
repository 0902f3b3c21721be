"""From the record of a captured density to a target that has proved to be the original.

`load_program` builds the target and runs nothing; `replay` evaluates it at the check points that the client computed
with the original model. A target is used only after both.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .base import Target
from .program import AtenBody, CheckPoints, FloatName, Program
from .untrusted import ProgramError

__all__ = ["load_program", "replay"]

# Largest |difference| / (1 + |log density|), and largest error of the score relative to its norm at the point.
_TOLERANCE = {"float32": (1e-4, 1e-3), "float64": (1e-10, 1e-8)}
_MINIMUM_POINTS = 16
# A score this small is compared absolutely: 1e-3 of it is below the rounding of the terms it is the sum of.
_SMALL_SCORE = 1e-3


def load_program(program: Program) -> Target:
    """The target of a captured program, of whichever kind. Raises ProgramError, before anything of it is run."""
    if program.dim < 1:
        raise ProgramError("DIM_OUT_OF_RANGE", f"dim must be at least 1, got {program.dim}", "dim")
    if isinstance(program.body, AtenBody):
        from .aten import AtenTarget

        return AtenTarget(program)
    from .stablehlo import StableHloTarget

    return StableHloTarget(program)


def replay(target: Target, check: CheckPoints, dtype: FloatName) -> None:
    """Evaluate `target` at the check points and compare with what the original model gave there.

    Tolerances are those of `dtype`, the type in which the density was captured. Raises ProgramError: PROGRAM_MALFORMED
    for check points of the wrong shape or too few, NON_FINITE_LOG_DENSITY if no value is finite,
    CAPTURE_MISMATCH otherwise.
    """
    _check_shapes(target, check)
    log_density, score = target.log_density_and_score(torch.from_numpy(np.array(check.x, dtype=dtype)))
    found = log_density.detach().cpu().numpy().astype(np.float64)
    found_score = score.detach().cpu().numpy().astype(np.float64)
    expected, expected_score = check.log_density.astype(np.float64), check.score.astype(np.float64)
    usable = np.isfinite(found) & np.isfinite(found_score).all(axis=1)
    if not usable.any():
        raise ProgramError(
            "NON_FINITE_LOG_DENSITY",
            f"the log density is not finite at any of {len(found)} check points (values {found[:4].tolist()}...); "
            "check the data and the supports of the model",
            "check_points",
        )
    value_tolerance, score_tolerance = _TOLERANCE[dtype]
    _compare_values(found, expected, value_tolerance)
    _compare_scores(found_score, expected_score, score_tolerance)


def _check_shapes(target: Target, check: CheckPoints) -> None:
    count = len(check.x)
    shapes = [check.x.shape, check.log_density.shape, check.score.shape]
    expected = [(count, target.dim), (count,), (count, target.dim)]
    if count < _MINIMUM_POINTS or shapes != expected or not np.isfinite(check.x).all():
        raise ProgramError(
            "PROGRAM_MALFORMED",
            f"check points, log densities and scores have shapes {shapes}; expected {expected} with at least "
            f"{_MINIMUM_POINTS} finite points",
            "check_points",
        )


def _compare_values(found: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    finite = np.isfinite(expected)
    with np.errstate(invalid="ignore"):
        error = np.abs(found - expected) / (1 + np.abs(expected))
    # Where the original is not finite, the copy must be infinite or NaN in the same way.
    agree = np.where(finite, error <= tolerance, np.isclose(found, expected, equal_nan=True))
    if not agree.all():
        worst = int(np.argmin(agree))
        raise _mismatch(f"log density {found[worst]!r}, where the original gave {expected[worst]!r}", worst)


def _compare_scores(found: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    compared = np.isfinite(expected).all(axis=1)
    with np.errstate(invalid="ignore"):
        error = np.linalg.norm(found - expected, axis=1) / (np.linalg.norm(expected, axis=1) + _SMALL_SCORE)
    agree = ~compared | (error <= tolerance)
    if not agree.all():
        worst = int(np.argmin(agree))
        raise _mismatch(f"a score that is off by {error[worst]:.3g} of its length", worst)


def _mismatch(what: str, point: int) -> ProgramError:
    return ProgramError(
        "CAPTURE_MISMATCH",
        f"the captured program gives {what}, at check point {point}; the capture lost or froze a part of the model "
        "(a branch, a value taken out of the framework, random numbers inside the density)",
        "check_points",
    )
