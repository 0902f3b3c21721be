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

__all__ = ["DATA", "GaussianStep", "Place", "Transition", "noising", "reversal", "reversal_variance", "transition"]


class Place(NamedTuple):
    """A level as plain numbers, in the variance preserving scale."""

    log_snr: float
    alpha: float
    sigma: float

    @classmethod
    def at(cls, log_snr: float) -> "Place":
        """The place of a lambda."""
        return cls(log_snr, math.exp(-0.5 * _softplus(-log_snr)), math.exp(-0.5 * _softplus(log_snr)))


DATA = Place(math.inf, 1.0, 0.0)
"""Without noise."""


class Transition(NamedTuple):
    """The coefficients of one step."""

    kept: float
    """Of the noisier point, in the reversal's mean."""
    given: float
    """Of the data, in the reversal's mean."""
    noised: float
    """Of the cleaner point, in the noising's mean."""
    variance: float
    """Of the noising."""


def transition(noisier: Place, cleaner: Place) -> Transition:
    """The step between two levels; from the data themselves, too."""
    change, ratio = _change(noisier, cleaner), math.exp(noisier.log_snr - cleaner.log_snr)
    return Transition(
        cleaner.alpha / noisier.alpha * ratio,
        cleaner.alpha * change,
        noisier.alpha / cleaner.alpha,
        noisier.sigma**2 * change,
    )


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
    step = transition(noisier, cleaner)
    return GaussianStep(step.noised * y, step.variance)


def reversal(y: Tensor, data: Tensor, noisier: Place, cleaner: Place, interpolation: float) -> GaussianStep:
    """The law of the cleaner point given the noisier one, y, and its data, both `batch x dim`.

    `interpolation` is v.
    """
    step = transition(noisier, cleaner)
    return GaussianStep(step.kept * y + step.given * data, reversal_variance(noisier, cleaner, interpolation))


def reversal_variance(noisier: Place, cleaner: Place, interpolation: float) -> float:
    """That of the reversal, for v; the cleaner level is noisy itself."""
    scale: float = cleaner.sigma * (noisier.sigma / cleaner.sigma) ** interpolation
    return scale**2 * _change(noisier, cleaner)


def _change(noisier: Place, cleaner: Place) -> float:
    """The c of two levels."""
    return -math.expm1(noisier.log_snr - cleaner.log_snr)


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
