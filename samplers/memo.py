"""What a simulation notes of its paths, so that nothing has to be found twice while the parameters stay as they are."""

import math
from typing import NamedTuple

from torch import Tensor

from .control import Control, Sight

__all__ = ["HIDDEN_FLOATS", "Memo"]

HIDDEN_FLOATS = 2**25
"""A hidden layer on all points is kept for the gradient if it takes no more floats than this."""


class Memo(NamedTuple):
    """Of forward paths."""

    noise: Tensor
    """(z_{n+1} - mean) / scale of each forward kernel, `steps x batch x dim`: the numbers the paths were drawn with."""
    sight: Sight | None
    """What the forward control saw at each grid point but the last, `(steps + 1) x batch` rows."""
    hidden: Tensor | None
    """What its second hidden layer was given there, `(steps + 1) x batch x width`."""

    @classmethod
    def of(cls, noise: Tensor, control: Control | None) -> "Memo":
        """Of paths that are drawn from this noise, to be filled in; what would take too much memory is left out."""
        if control is None:
            return cls(noise, None, None)
        shape = (noise.shape[0] + 1, noise.shape[1])
        seen, score, hidden = (
            noise.new_empty(*shape, size) if math.prod(shape) * size <= HIDDEN_FLOATS else None
            for size in (control.inlet.in_features, noise.shape[2], control.hidden.in_features)
        )
        return cls(noise, None if seen is None or score is None else Sight(seen, score), hidden)
