"""The coordinates u that a bridge works in: x = shift + scale u."""

from typing import NamedTuple

from torch import Tensor

from gephyra.targets.affine import AffineView
from gephyra.targets.base import Target

__all__ = ["Coordinates"]


class Coordinates(NamedTuple):
    """The map x = shift + scale u of a preconditioner: `(dim,)`, and `(dim,)` or `dim x dim`."""

    shift: Tensor
    scale: Tensor

    def view(self, target: Target) -> AffineView:
        """The target in coordinates u."""
        return AffineView(target, self.shift, self.scale)
