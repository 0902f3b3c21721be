"""The law at the start of a bridge: a Gaussian with independent coordinates, learned or fixed."""

import math

import torch
from torch import Tensor, nn

from .kernel import GaussianKernel

__all__ = ["DiagonalPrior"]


class DiagonalPrior(nn.Module):
    """N(mean, diag(scale^2)) with mean and log scale as parameters.

    Args:
        dim: Dimension.
        scale: Initial standard deviation in every direction, positive.
        learned: Whether mean and scale receive gradients.
    """

    def __init__(self, dim: int, scale: float = 1.0, *, learned: bool = True) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(dim), requires_grad=learned)
        self.log_scale = nn.Parameter(torch.full((dim,), math.log(scale)), requires_grad=learned)

    def kernel(self) -> GaussianKernel:
        """The prior as a kernel that starts nowhere."""
        return GaussianKernel(self.mean, self.log_scale.exp())

    def score(self, x: Tensor) -> Tensor:
        """Gradient of the log density at x, `... x dim`."""
        return (self.mean - x) * (-2.0 * self.log_scale).exp()
