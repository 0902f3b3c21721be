"""The law at the start of a bridge: a Gaussian with independent coordinates, or a mixture of Gaussians."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .kernel import GaussianKernel

__all__ = ["DiagonalPrior", "Prior", "Scorer"]

Scorer = Callable[[Tensor], Tensor]
"""Points `... x dim` -> the gradient of a log density there, same shape."""


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
    def anchor_scorer(self) -> Scorer:
        """The same for the prior as it was before training: no parameter of it is live."""

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
        self._anchor_precision = scale**-2.0
        self.mean = nn.Parameter(torch.zeros(dim), requires_grad=learned)
        self.log_scale = nn.Parameter(torch.full((dim,), math.log(scale)), requires_grad=learned)

    def sample(self, noise: Tensor) -> Tensor:
        return self._kernel().sample(noise[0])

    def log_density(self, x: Tensor) -> Tensor:
        return self._kernel().log_density(x)

    def scorer(self) -> Scorer:
        precision = (-2.0 * self.log_scale).exp()
        offset, slope = self.mean * precision, -precision
        return lambda x: torch.addcmul(offset, x, slope)

    def anchor_scorer(self) -> Scorer:
        slope = torch.full_like(self.mean, -self._anchor_precision, requires_grad=False)
        return lambda x: x * slope

    def centre(self) -> Tensor:
        return self.mean

    def spread(self) -> Tensor:
        return self.log_scale.exp()

    def _kernel(self) -> GaussianKernel:
        return GaussianKernel(self.mean, self.log_scale.exp())
