"""Affine maps as plain records. Imports numpy only, so that hypothesis can know the type at no cost."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gephyra.targets.affine import AffineView
    from gephyra.targets.base import Target

__all__ = ["AffineMap"]


class AffineMap(NamedTuple):
    """The invertible map u -> shift + scale_tril u."""

    shift: NDArray[np.float64]
    """(dim,)."""
    scale_tril: NDArray[np.float64]
    """Lower triangular (dim, dim), or (dim,) for a diagonal map; no zero on the diagonal."""

    @property
    def log_abs_det(self) -> float:
        """log |det scale|."""
        diagonal = self.scale_tril if self.scale_tril.ndim == 1 else self.scale_tril.diagonal()
        return float(np.log(np.abs(diagonal)).sum())

    def __call__(self, u: NDArray[Any]) -> NDArray[Any]:
        """The images of points u, `batch x dim`."""
        linear = u * self.scale_tril if self.scale_tril.ndim == 1 else u @ self.scale_tril.T
        return np.asarray(self.shift + linear)

    def view(self, target: "Target") -> "AffineView":
        """The target in coordinates u. Raises ValueError for a target of another dimension."""
        from gephyra.targets.affine import AffineView

        return AffineView(target, self.shift, self.scale_tril)
