"""Log weights of ancestral paths on a density known up to a constant: both sides of log Z from one denoiser.

With forward kernels from noise to data by `kernel.reversal` and the noising process as their backward kernels,
log w = log gamma(x) + log q(path | x) - log p(path, x): its mean over the model's own paths is the ELBO, below log Z;
over noised draws of the target it is the EUBO, above. Few steps want the large variance (`interpolation` 1).
"""

import itertools
import math

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .denoiser import Denoiser
from .kernel import GaussianStep, Place, noising, reversal

__all__ = ["generative_log_weights", "noising_log_weights"]


def generative_log_weights(
    denoiser: Denoiser, target: Target, grid: Tensor, noise: Tensor, interpolation: float
) -> tuple[Tensor, Tensor]:
    """Draws, `batch x dim`, and their log weights, `(batch,)` float64.

    Args:
        denoiser: Of the target's dimension.
        target: gamma.
        grid: lambda, `(steps + 1,)`, increasing.
        noise: Standard normal, `(steps + 2) x batch x dim`.
        interpolation: Of the reversal's log variance, from small to large.
    """
    places, y = [Place.at(value) for value in grid.tolist()], noise[0]
    log_weight = -_prior(y).log_density(y)
    with torch.no_grad():
        for n, (here, there) in enumerate(itertools.pairwise(places)):
            law = reversal(y, _data(denoiser, y, here), here, there, interpolation)
            reached = law.draw(noise[n + 1])
            log_weight = log_weight + noising(reached, there, here).log_density(y) - law.log_density(reached)
            y = reached
        last = _last(y, places[-1])
        x = last.draw(noise[-1])
        log_weight = log_weight + _first(x, places[-1]).log_density(y) - last.log_density(x)
        return x, log_weight + target.log_density(x).double()


def noising_log_weights(
    denoiser: Denoiser, target: Target, x: Tensor, grid: Tensor, noise: Tensor, interpolation: float
) -> Tensor:
    """Log weights, `(batch,)` float64, of noised draws x of the target, `batch x dim`.

    Args:
        denoiser: Of the target's dimension.
        target: gamma.
        x: Draws.
        grid: lambda, `(steps + 1,)`, increasing.
        noise: Standard normal, `(steps + 1) x batch x dim`.
        interpolation: Of the reversal's log variance, from small to large.
    """
    places = [Place.at(value) for value in grid.tolist()]
    first = _first(x, places[-1])
    y = first.draw(noise[0])
    with torch.no_grad():
        log_weight = target.log_density(x).double() + first.log_density(y) - _last(y, places[-1]).log_density(x)
        pairs = zip(reversed(places[1:]), reversed(places[:-1]), strict=True)
        for n, (cleaner, noisier) in enumerate(pairs):
            law = noising(y, cleaner, noisier)
            reached = law.draw(noise[n + 1])
            back = reversal(reached, _data(denoiser, reached, noisier), noisier, cleaner, interpolation)
            log_weight = log_weight + law.log_density(reached) - back.log_density(y)
            y = reached
    return log_weight - _prior(y).log_density(y)


def _data(denoiser: Denoiser, y: Tensor, place: Place) -> Tensor:
    return denoiser.data(y, torch.full((len(y),), place.log_snr, dtype=torch.float64, device=y.device))


def _prior(like: Tensor) -> GaussianStep:
    return GaussianStep(torch.zeros_like(like), 1.0)


def _first(x: Tensor, place: Place) -> GaussianStep:
    """Of the cleanest level given data."""
    return GaussianStep(place.alpha * x, place.sigma**2)


def _last(y: Tensor, place: Place) -> GaussianStep:
    """Of data given the cleanest level."""
    return GaussianStep(y / place.alpha, math.exp(-place.log_snr))
