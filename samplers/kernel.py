"""One Gaussian transition of a Markov chain.

A kernel is N(mean, diag(scale^2)) given the point it starts from. Shapes broadcast: mean `... x dim`, scale `(dim,)`
or `... x dim`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.gaussian import LOG_SQRT_2PI

__all__ = ["GaussianKernel"]


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
        normaliser = (self.scale.log() + LOG_SQRT_2PI).sum(-1)
        return -0.5 * quadratic.double() - normaliser.double()
