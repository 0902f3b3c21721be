"""A target in coordinates u with x = shift + scale u.

The view's density is gamma(shift + scale u) |det scale|: the same measure in other coordinates, so that
log Z, the exact draws and the sites stay what they were.
"""

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .base import Target
from .constant import Constant

__all__ = ["AffineView"]


class AffineView(Target):
    """A target seen through an affine map of its coordinates.

    >>> from gephyra.targets.gaussian import Gaussian
    >>> view = AffineView(Gaussian([3.0], [4.0]), shift=[3.0], scale_tril=[2.0])
    >>> view.log_density(torch.zeros(1, 1))  # a standard normal: -log(2 pi) / 2
    tensor([-0.9189])
    """

    def __init__(self, target: Target, shift: ArrayLike | Tensor, scale_tril: ArrayLike | Tensor) -> None:
        """View `target` at x = shift + scale u.

        Args:
            target: The target in its own coordinates x.
            shift: Where u = 0 lies, (dim,).
            scale_tril: The map's linear part: lower triangular (dim, dim), or (dim,) for a diagonal one.
                Its diagonal must not hold a zero; negative entries mirror a coordinate.

        Raises:
            ValueError: For other shapes, values that are not finite, entries above the diagonal, a zero on it.
        """
        self.target = target
        self.dim, self.log_z, self.sites = target.dim, target.log_z, target.sites
        self._shift, self._scale = Constant(shift), Constant(scale_tril)
        _check_map(self.dim, self._shift.master, self._scale.master)
        scale = self._scale.master
        self.log_abs_det = float((scale if scale.ndim == 1 else scale.diagonal()).abs().log().sum())

    def to_target(self, u: Tensor) -> Tensor:
        """The points x = shift + scale u of the target, `batch x dim`, at points u, `batch x dim`."""
        scale = self._scale.like(u)
        return self._shift.like(u) + (u * scale if scale.ndim == 1 else u @ scale.mT)

    def from_target(self, x: Tensor) -> Tensor:
        """The points u, `batch x dim`, that `to_target` sends to x, `batch x dim`."""
        centred, scale = x - self._shift.like(x), self._scale.like(x)
        if scale.ndim == 1:
            return centred / scale
        u: Tensor = torch.linalg.solve_triangular(scale, centred.mT, upper=False).mT
        return u

    def sample(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Exact draws of the target in these coordinates, `count x dim`, or None."""
        x = self.target.sample(count, generator)
        return None if x is None else self.from_target(x)

    def _log_density(self, u: Tensor) -> Tensor:
        return self.target.log_density(self.to_target(u)) + self.log_abs_det

    def _log_density_and_score(self, u: Tensor) -> tuple[Tensor, Tensor]:
        log_density, score = self.target.log_density_and_score(self.to_target(u))
        scale = self._scale.like(u)
        return log_density + self.log_abs_det, score * scale if scale.ndim == 1 else score @ scale

    def _constrain(self, u: Tensor) -> dict[str, Tensor]:
        return self.target.constrain(self.to_target(u))


def _check_map(dim: int, shift: Tensor, scale: Tensor) -> None:
    if tuple(shift.shape) != (dim,):
        raise ValueError(f"shift must have shape ({dim},), got {tuple(shift.shape)}")
    if tuple(scale.shape) not in {(dim,), (dim, dim)}:
        raise ValueError(f"scale_tril must have shape ({dim}, {dim}) or ({dim},), got {tuple(scale.shape)}")
    if not (shift.isfinite().all() and scale.isfinite().all()):
        raise ValueError("shift and scale_tril must be finite")
    if scale.ndim == 2 and scale.triu(1).any():
        raise ValueError("scale_tril must be lower triangular: take the Cholesky factor of the covariance")
    if not (scale if scale.ndim == 1 else scale.diagonal()).all():
        raise ValueError("scale_tril must have no zero on its diagonal: the map must be invertible")
