"""The law at the start of a bridge: a Gaussian with independent coordinates, or a mixture of Gaussians."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .kernel import GaussianKernel

__all__ = ["DiagonalPrior", "Prior", "Scorer"]


class Scorer(NamedTuple):
    """The gradient of a prior's log density, offset + slope x + rest(x); nothing in the rest is learned.

    Taken apart because the linear part costs nothing where it is merged with the other coefficients of a kernel.
    """

    offset: Tensor
    """`(dim,)`."""
    slope: Tensor
    """`(dim,)`."""
    rest: Callable[[Tensor], Tensor] | None = None
    """Points `... x dim` to arrays of that shape; None: zero."""

    def __call__(self, x: Tensor) -> Tensor:
        """The gradient at points x, `... x dim`, same shape."""
        linear = torch.addcmul(self.offset, x, self.slope)
        return linear if self.rest is None else linear + self.rest(x)


class Prior(nn.Module, ABC):
    """The interface of a prior on R^dim.

    Attributes:
        dim: Dimension.
        rows: Rows of `batch x dim` normal noise that a draw takes.
    """

    dim: int
    rows: int

    @abstractmethod
    def sample(self, noise: Tensor) -> Tensor:
        """Points `batch x dim` from standard normal noise, `rows x batch x dim`."""

    @abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """Normalised log density at points `batch x dim`, `(batch,)` in float64."""

    @abstractmethod
    def scorer(self) -> Scorer:
        """The gradient of the log density; what does not depend on the point is computed once, here."""

    @abstractmethod
    def centre(self) -> Tensor:
        """Mean, `(dim,)`."""

    @abstractmethod
    def spread(self) -> Tensor:
        """Standard deviation of each coordinate, `(dim,)`."""


class DiagonalPrior(Prior):
    """N(mean, diag(scale^2)) with mean and log scale as parameters.

    Args:
        dim: Dimension.
        scale: Initial standard deviation in every direction, positive.
        learned: Whether mean and scale receive gradients.
    """

    rows = 1

    def __init__(self, dim: int, scale: float = 1.0, *, learned: bool = True) -> None:
        super().__init__()
        self.dim = dim
        self.mean = nn.Parameter(torch.zeros(dim), requires_grad=learned)
        self.log_scale = nn.Parameter(torch.full((dim,), math.log(scale)), requires_grad=learned)

    def sample(self, noise: Tensor) -> Tensor:
        return self._kernel().sample(noise[0])

    def log_density(self, x: Tensor) -> Tensor:
        return self._kernel().log_density(x)

    def scorer(self) -> Scorer:
        precision = (-2.0 * self.log_scale).exp()
        return Scorer(self.mean * precision, -precision)

    def centre(self) -> Tensor:
        return self.mean

    def spread(self) -> Tensor:
        return self.log_scale.exp()

    def _kernel(self) -> GaussianKernel:
        return GaussianKernel(self.mean, self.log_scale.exp())
