"""What a simulation notes of its paths, so that nothing has to be found twice while the parameters stay as they are."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .control import Control, Sight

__all__ = ["Memo", "worth_keeping"]

# Floats of an array on all points that may be kept for the gradient: 128 MB in single precision.
_KEPT_FLOATS = 2**25


def worth_keeping(shape: Sequence[int]) -> bool:
    """Whether there is memory for an array of this shape; if not, what would be in it is found a second time."""
    return math.prod(shape) <= _KEPT_FLOATS


class Memo(NamedTuple):
    """Of forward paths."""

    noise: Tensor
    """(z_{n+1} - mean) / scale of each forward kernel, `steps x batch x dim`: the numbers the paths were drawn with."""
    sight: Sight | None
    """What the forward control saw at each grid point but the last, `(steps + 1) x batch` rows."""
    hidden: Tensor | None
    """What its second hidden layer was given there, `(steps + 1) x batch x width`."""
    rest: Tensor | None
    """The rest of the prior's score there, `(steps + 1) x batch x dim`."""

    @classmethod
    def of(cls, noise: Tensor, control: Control | None, *, rest: bool) -> "Memo":
        """Of paths that are drawn from this noise, to be filled in; what would take too much memory is left out.

        `rest` says whether the prior's score has a rest.
        """
        lead = (noise.shape[0] + 1, noise.shape[1])
        rests = noise.new_empty(*lead, noise.shape[2]) if rest else None
        if control is None:
            return cls(noise, None, None, rests)
        sizes = (control.inlet.in_features, noise.shape[2], control.hidden.in_features)
        shapes = [(*lead, size) for size in sizes]
        seen, score, hidden = (noise.new_empty(shape) if worth_keeping(shape) else None for shape in shapes)
        return cls(noise, None if seen is None or score is None else Sight(seen, score), hidden, rests)

    def between(self, first: int, last: int) -> "Memo":
        """That of transitions first, ..., last - 1."""
        points = slice(first, last + 1)
        sight = None if self.sight is None else self.sight.at(points)
        hidden, rest = (None if part is None else part[points] for part in (self.hidden, self.rest))
        return Memo(self.noise[first:last], sight, hidden, rest)
