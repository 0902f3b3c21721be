"""A Gaussian mixture in the coordinates of a bridge, as a preconditioner found it."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["Components"]


class Components(NamedTuple):
    """K Gaussian components in float64, one a mode."""

    log_weight: Tensor
    """`(K,)`, normalised."""
    mean: Tensor
    """`K x dim`."""
    tril: Tensor
    """Lower triangular factors `K x dim x dim`, or standard deviations `K x dim`."""
