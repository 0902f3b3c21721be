"""Check that a captured program computes what the original computes."""

from collections.abc import Callable
from typing import SupportsFloat

import numpy as np
import torch
from numpy.typing import NDArray

from gephyra.targets.loading import load_program, replay
from gephyra.targets.untrusted import ProgramError

from ..definition import Definition
from .loading import as_program
from .report import CheckReport, require

__all__ = ["check_capture"]

_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
"""Largest |difference| / (1 + |log density|), as the server has it."""


def check_capture(
    captured: Definition,
    original: Callable[[NDArray[np.float64]], SupportsFloat] | None = None,
    *,
    points: int = 64,
    seed: int = 0,
) -> CheckReport:
    """A captured density agrees with the original at its check points, and at fresh points if the original is given.

    Args:
        captured: What `from_numpyro`, `from_pyro`, `from_jax` or `from_torch` returned.
        original: The log density of one unconstrained point, a float64 array (dim,); for a torch callable f pass
            `lambda x: f(torch.from_numpy(x))`. None: only the check points that the capture took are replayed.
        points: Number of fresh standard normal points.
        seed: Their seed.

    Raises:
        AssertionError: With the point where the two differ most and both values.
        ValueError: For a definition without a program, or a program that the server would refuse unread.
    """
    wire = captured.definition()
    if not wire.HasField("program"):
        raise ValueError("check_capture needs a captured program; a catalogue target has nothing to compare")
    program = as_program(wire.program)
    target = load_program(program)
    try:
        replay(target, program.check_points, program.dtype)
    except ProgramError as error:
        raise AssertionError(f"check_capture: {error}") from error
    if original is None:
        return CheckReport("check_capture", f"agrees at {len(program.check_points.x)} check points of the capture")
    x = np.random.default_rng(seed).normal(size=(points, program.dim)).astype(program.dtype).astype(np.float64)
    found = target.log_density(torch.from_numpy(x.astype(program.dtype))).double().numpy()
    expected = np.array([float(original(row)) for row in x])
    return _compare(found, expected, _TOLERANCE[program.dtype])


def _compare(found: NDArray[np.float64], expected: NDArray[np.float64], tolerance: float) -> CheckReport:
    """Equal infinities agree, and NaN with NaN; anything else is compared relative to 1 + |log density|."""
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        relative = np.abs(found - expected) / (1 + np.abs(expected))
    off = np.where(same, 0.0, np.nan_to_num(relative, nan=np.inf))
    worst = int(off.argmax())
    detail = (
        f"largest relative difference of the log density at {len(off)} fresh points is {off[worst]:.2e} (allowed "
        f"{tolerance:.0e}): at point {worst} {found[worst]:.10g}, the original gives {expected[worst]:.10g}"
    )
    return require("check_capture", bool(off[worst] <= tolerance), detail)
