"""Upper bounds of -log p(x) under a denoiser, with standard errors; nothing is clamped or left out.

    -log p(x) <= KL(q(z_low | x) || N(0, I)) - E log p(x | z_high) + 1/2 integral_low^high E|eps - eps'|^2 dlambda

(Kingma et al. 2021; T steps in their discrete form). For continuous data the last two terms grow without bound as high
does, and cancel; with a Gaussian G and its denoiser (after Kong et al. 2023) nothing is left to cancel:

    -log p(x) <= -log G(x) + 1/2 integral E[ |eps - eps'|^2 - |eps - eps_G|^2 ] dlambda.

Where the second integral is cut off, the model is that Gaussian's denoiser beyond the ends: a bound still.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..noise import NoiseSource
from ..random import keyed_generator
from .denoiser import Denoiser
from .density import LevelDensity
from .exact import GaussianDenoiser
from .reconstruction import Reconstruction
from .sampling import Levels, LowDiscrepancy, NoiseLevels
from .schedule import Level, preserving

__all__ = ["NegativeLogLikelihood", "baseline_bound", "noise_error", "variational_bound"]


# Rows that a model sees at a time: of each it may make many numbers.
_ROWS = 1024


class NegativeLogLikelihood(NamedTuple):
    """-log p, or a bound of it, of rows of data."""

    nats: Tensor
    """`(rows,)` float64."""
    row_error: Tensor
    """Standard error of each, `(rows,)`: zero where it is computed, NaN where a single draw says nothing of it."""
    dim: int

    @property
    def mean(self) -> float:
        """Over rows, in nats."""
        return float(self.nats.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean, from the spread over rows: rows as draws of a population, noise included."""
        return float(self.nats.std()) / math.sqrt(len(self.nats))

    @property
    def bits_per_dim(self) -> float:
        """The mean in bits a dimension."""
        return self.mean / (self.dim * math.log(2.0))

    def plus(self, nats: float) -> "NegativeLogLikelihood":
        """The same in other units of x: `nats` is the log Jacobian of the map from model to data coordinates."""
        return self._replace(nats=self.nats + nats)


def variational_bound(
    denoiser: Denoiser, x: Tensor, levels: NoiseLevels, reconstruction: Reconstruction, noise: NoiseSource, draws: int
) -> NegativeLogLikelihood:
    """The whole ELBO, negative: prior, reconstruction and diffusion.

    Args:
        denoiser: Of dimension dim.
        x: Data, `rows x dim`.
        levels: Source of levels; the ends of its density are `low` and `high`, and its steps those of the bound.
        reconstruction: The last term.
        noise: Source of all noise.
        draws: Levels a row, at least 1.
    """
    low, high = _ends(levels.density)
    terms = []
    for n in range(draws):
        drawn, shape = _draw(levels, noise, n, len(x)), tuple(x.shape)
        fill = torch.from_numpy(keyed_generator(f"likelihood/{n}/cells", noise.seed, noise.step).random(shape))
        lifted = reconstruction.lift(x, fill)
        error = noise_error(denoiser, lifted, noise.precise(shape, f"likelihood/{n}"), drawn.log_snr)
        diffusion = 0.5 * drawn.inverse_density * drawn.importance * error
        last = reconstruction.nats(x, noise.precise(shape, f"likelihood/{n}/last"), high)
        terms.append(_prior(lifted, low) + last + diffusion)
    return _summary(torch.stack(terms), x.shape[1])


def baseline_bound(
    denoiser: Denoiser, x: Tensor, baseline: GaussianDenoiser, proposal: LevelDensity, noise: NoiseSource, draws: int
) -> NegativeLogLikelihood:
    """The bound relative to a Gaussian.

    Args:
        denoiser: Of dimension dim.
        x: Data, `rows x dim`; without an upper end of the proposal, float64: exp(lambda) magnifies rounding.
        baseline: The Gaussian, with the moments of the training data.
        proposal: Where levels are drawn; best a logistic around minus the log of the finest structure's variance.
        noise: Source of all noise.
        draws: Levels a row, at least 1.
    """
    source, terms = NoiseLevels(proposal, LowDiscrepancy()), []
    for n in range(draws):
        drawn = _draw(source, noise, n, len(x))
        eps = noise.precise(tuple(x.shape), f"likelihood/{n}")
        ours, theirs = (noise_error(model, x, eps, drawn.log_snr) for model in (denoiser, baseline))
        terms.append(0.5 * drawn.inverse_density * (ours - theirs) - baseline.log_density(x))
    return _summary(torch.stack(terms), x.shape[1])


def noise_error(denoiser: Denoiser, x: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """|eps - eps'|^2, `(batch,)` float64, at data x with noise eps, `batch x dim`, and levels `(batch,)` float64."""
    level = Level(*(part.to(x) for part in preserving(log_snr)))
    parts = zip(level.noised(x, eps.to(x)).split(_ROWS), log_snr.split(_ROWS), strict=True)
    with torch.no_grad():
        guess = torch.cat([denoiser.data(y, each) for y, each in parts])
    # From the error of the data: the noise's own would divide a rounded difference by sigma.
    return log_snr.exp() * (x.double() - guess.double()).square().sum(1)


def _prior(x: Tensor, low: float) -> Tensor:
    """KL of N(alpha x, sigma^2 I) from N(0, I)."""
    noisiest = torch.tensor(low, dtype=torch.float64)
    signal, noise = torch.sigmoid(noisiest), torch.sigmoid(-noisiest)
    return 0.5 * (signal * x.double().square() + noise - 1.0 + functional.softplus(noisiest)).sum(1)


def _ends(density: LevelDensity) -> tuple[float, float]:
    ends = density.quantile(torch.tensor([0.0, 1.0], dtype=torch.float64))
    low, high = float(ends[0]), float(ends[1])
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("the bound needs levels between finite ends: truncate the density")
    return low, high


def _draw(source: NoiseLevels, noise: NoiseSource, draw: int, rows: int) -> Levels:
    """Levels in random order: placed ones are sorted, and rows of data may be too."""
    generator = keyed_generator(f"likelihood/{draw}/levels", noise.seed, noise.step)
    drawn = source.sample(torch.from_numpy(generator.random(rows)))
    order = torch.from_numpy(generator.permutation(rows))
    return Levels(*(part[order].to(noise.device) for part in drawn))


def _summary(terms: Tensor, dim: int) -> NegativeLogLikelihood:
    """Of terms `draws x rows`."""
    error = terms.std(0) / math.sqrt(len(terms)) if len(terms) > 1 else torch.full_like(terms[0], math.nan)
    return NegativeLogLikelihood(terms.mean(0), error, dim)
