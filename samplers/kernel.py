"""One Gaussian transition of a Markov chain.

A kernel is N(mean, diag(scale^2)) given the point it starts from. Shapes broadcast: mean `... x dim`, scale `(dim,)`
or `... x dim`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["GaussianKernel"]

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class GaussianKernel(NamedTuple):
    """A diagonal Gaussian: `mean` and standard deviation `scale`, both broadcasting to `... x dim`."""

    mean: Tensor
    scale: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """The point that standard normal `noise`, `... x dim`, leads to."""
        return torch.addcmul(self.mean, self.scale, noise)

    def log_density(self, x: Tensor) -> Tensor:
        """Normalised log density at x, `... x dim`: summed over dim in x's precision, returned in float64."""
        # Multiplying by the small reciprocal is faster than dividing the large difference.
        quadratic = ((x - self.mean) * self.scale.reciprocal()).square().sum(-1)
        normaliser = (self.scale.log() + _HALF_LOG_TWO_PI).sum(-1)
        return -0.5 * quadratic.double() - normaliser.double()
