"""One step of the noising process between two levels, t noisier and s cleaner, and its reversal by a denoiser.

    y_t | y_s ~ N( (alpha_t / alpha_s) y_s,  sigma_t^2 c ),    c = 1 - q,  q = exp(lambda_t - lambda_s)
    y_s | y_t ~ N( (alpha_s / alpha_t) q y_t + alpha_s c x',  sigma_s^(2 - 2 v) sigma_t^(2 v) c )

with x' the denoiser's data and v in [0, 1]: 0 is the variance of the posterior given x ("small"), 1 that of the noising
kernel ("large"; Ho et al. 2020, Nichol and Dhariwal 2021).
"""

import math
from typing import NamedTuple

from torch import Tensor

from gephyra.targets.gaussian import LOG_SQRT_2PI

__all__ = ["GaussianStep", "Place", "noising", "reversal"]


class Place(NamedTuple):
    """A level as plain numbers, in the variance preserving scale."""

    log_snr: float
    alpha: float
    sigma: float

    @classmethod
    def at(cls, log_snr: float) -> "Place":
        """The place of a lambda."""
        return cls(log_snr, math.exp(-0.5 * _softplus(-log_snr)), math.exp(-0.5 * _softplus(log_snr)))


class GaussianStep(NamedTuple):
    """A normal law with one variance."""

    mean: Tensor
    """`batch x dim`."""
    variance: float

    def draw(self, noise: Tensor) -> Tensor:
        """The point, `batch x dim`, that standard normal noise leads to."""
        return self.mean + math.sqrt(self.variance) * noise

    def log_density(self, y: Tensor) -> Tensor:
        """At y, `batch x dim`: `(batch,)` float64."""
        squares = (y - self.mean).double().square().sum(1)
        return -0.5 * squares / self.variance - y.shape[1] * (0.5 * math.log(self.variance) + LOG_SQRT_2PI)


def noising(y: Tensor, cleaner: Place, noisier: Place) -> GaussianStep:
    """The law of the noisier point given the cleaner one, y, `batch x dim`."""
    return GaussianStep(noisier.alpha / cleaner.alpha * y, noisier.sigma**2 * _change(noisier, cleaner))


def reversal(y: Tensor, data: Tensor, noisier: Place, cleaner: Place, interpolation: float) -> GaussianStep:
    """The law of the cleaner point given the noisier one, y, and its data, both `batch x dim`.

    `interpolation` is v.
    """
    change, ratio = _change(noisier, cleaner), math.exp(noisier.log_snr - cleaner.log_snr)
    mean = (cleaner.alpha / noisier.alpha * ratio) * y + (cleaner.alpha * change) * data
    return GaussianStep(mean, (cleaner.sigma * (noisier.sigma / cleaner.sigma) ** interpolation) ** 2 * change)


def _change(noisier: Place, cleaner: Place) -> float:
    """The c of two levels."""
    return -math.expm1(noisier.log_snr - cleaner.log_snr)


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
