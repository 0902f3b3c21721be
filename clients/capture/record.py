"""What a capture gives: the program of a density, and the points that prove it was captured rightly.

The 16 check points are the same for every model of one dimension: ordinary ones, wide ones, and ones that
push every coordinate towards the edge of its support. Their values come from the ORIGINAL model, so a
graph that froze a branch or lost a term cannot agree with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gephyra.protos.program_pb2 import CheckPoints, Program, Site
from gephyra.protos.target_service_pb2 import TargetDefinition
from gephyra.protos.tensor_pb2 import DataArray, DType

from ..errors import CaptureError
from ..tensors import to_tensor

__all__ = ["Captured", "Constants", "assemble", "check_dim", "check_original", "check_points", "dtype_number"]

_NORMAL, _WIDE, _EDGE = 8, 4, 4
_WIDE_SCALE = 3.0
# exp(-4) = 0.018 and 1 - sigmoid(4) = 0.018: near the edge, where float32 still resolves the distance to it.
_EDGE_VALUE = 4.0
_SEED = 20261122
_NUMBERS = dict(DType.items())


@dataclass(frozen=True, slots=True, repr=False)
class Captured:
    """A captured density, ready to be registered under a name.

    Attributes:
        program: The wire message, every data array inline.
    """

    program: Program

    @property
    def dim(self) -> int:
        """Number of unconstrained coordinates."""
        return self.program.dim

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of what the constraining map returns, in the model's order; empty without such a map."""
        return tuple(site.name for site in self.program.sites)

    def __repr__(self) -> str:
        return f"Captured(dim={self.dim}, sites=[{', '.join(self.sites)}], source={self.program.source!r})"

    def definition(self) -> TargetDefinition:
        """The message with which a target is registered. The program is copied."""
        return TargetDefinition(program=self.program)


class Constants:
    """The data arrays of a program in the order of its arguments; an array met twice is sent once."""

    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []
        self._index: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def add(self, array: NDArray[Any]) -> int:
        """Index of `array` among the arguments, appended if it is new."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._index:
            self._index[key] = len(self.arrays)
            self.arrays.append(np.ascontiguousarray(array).reshape(array.shape))
        return self._index[key]


def dtype_number(dtype: Any) -> int | None:
    """The wire's number for a numpy element type, None for a type that the wire does not know."""
    return _NUMBERS.get(f"DTYPE_{np.dtype(dtype).name.upper()}")


def check_dim(dim: object) -> int:
    """`dim` if it is a whole number of at least 1, else CaptureError."""
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer) or dim < 1:
        raise CaptureError(f"dim must be a whole number of at least 1, got {dim!r}; pass the length of the point x")
    return int(dim)


def check_points(dim: int, dtype: str) -> NDArray[Any]:
    """The 16 points at which a capture is checked, `16 x dim`: 8 normal, 4 wide, 4 near the edges of the supports."""
    generator = np.random.default_rng(_SEED)
    normal = generator.normal(size=(_NORMAL, dim))
    wide = _WIDE_SCALE * generator.normal(size=(_WIDE, dim))
    signs = generator.choice([-1.0, 1.0], size=(_EDGE, dim))
    edge = _EDGE_VALUE * signs + 0.1 * generator.normal(size=(_EDGE, dim))
    return np.concatenate([normal, wide, edge]).astype(dtype)


def check_original(log_density: NDArray[Any], score: NDArray[Any]) -> None:
    """Refuse a density that is finite at none of the check points: nothing could be verified, or sampled."""
    finite = np.isfinite(log_density) & np.isfinite(score).all(axis=1)
    if not finite.any():
        raise CaptureError(
            f"the log density or its gradient is not finite at every one of {len(log_density)} check points around 0 "
            f"(values {log_density[:4].tolist()}...); evaluate the model at an unconstrained point of your own and "
            "look for log of a negative number, 0/0, or data outside the support of its distribution"
        )


def assemble(
    x: NDArray[Any],
    log_density: NDArray[Any],
    score: NDArray[Any],
    *,
    sites: Sequence[Site],
    arrays: Sequence[NDArray[Any]],
    source: str,
) -> Program:
    """The message without its body: points x `n x dim` with their values, the sites, the arrays inline."""
    dtype = dtype_number(x.dtype)
    assert dtype is not None
    return Program(
        dim=x.shape[1],
        dtype=DType.ValueType(dtype),
        sites=sites,
        arrays=[DataArray(inline=to_tensor(array)) for array in arrays],
        check_points=CheckPoints(x=to_tensor(x), log_density=to_tensor(log_density), score=to_tensor(score)),
        source=source,
    )
