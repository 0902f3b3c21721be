"""A model of data on a grid of levels (pixels, counts, ordinal columns): a probability of each level in each dimension.

    log P(x_d = level | y) = network's logit + log frequency of the level + log N(y_d; alpha level, sigma^2) + constant

The data prediction is the expectation. It starts as the exact posterior of independent columns, and can never leave the
levels' range; its probabilities at the highest lambda are a reconstruction of their own.
"""

import math

import torch
from torch import Tensor

from .denoiser import DenoisingModel
from .exact import GaussianDenoiser
from .network import Network
from .prediction import Data
from .reconstruction import Reconstruction, level_index
from .schedule import VariancePreserving, preserving

__all__ = ["HeadReconstruction", "LevelModel", "level_frequencies"]


class LevelModel(DenoisingModel):
    """A denoiser by probabilities of levels.

    Args:
        network: Of `dim * count` outputs.
        levels: `dim x count`, increasing; NaN after the last of a dimension that has fewer.
        frequency: Of each level in the training data, `dim x count`, positive where there is a level.

    Raises:
        ValueError: If levels and frequencies have other shapes.
    """

    levels: Tensor
    log_frequency: Tensor

    def __init__(self, network: Network, levels: Tensor, frequency: Tensor, skip: GaussianDenoiser | None=None, gate: float=1.0) -> None:
        super().__init__()
        if levels.ndim != 2 or levels.shape[0] != network.dim or frequency.shape != levels.shape:
            came = f"{tuple(levels.shape)} and {tuple(frequency.shape)}"
            raise ValueError(f"levels and frequencies must have shape ({network.dim}, count), got {came}")
        self.dim, self.prediction, self.schedule = network.dim, Data(), VariancePreserving()
        self.network = network
        self._skip = skip
        self.gate = torch.nn.Parameter(torch.full((network.dim,1), gate))
        there = ~levels.isnan()
        self.register_buffer("levels", torch.where(there, levels, 0.0).float())
        self.register_buffer("log_frequency", torch.where(there, frequency.log(), -math.inf).float())

    def log_probabilities(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """Of each level, `batch x dim x count`, at noised points y, `batch x dim`, of levels log_snr, `(batch,)`."""
        level = preserving(log_snr)
        alpha, sigma = (part.to(y)[..., None] for part in (level.alpha, level.sigma))
        own = self.network(y, log_snr.to(y)).view(len(y), *self.levels.shape)
        noise = (y[..., None] - alpha * self.levels) / sigma
        if self._skip is not None:
            mean, variance = self._skip.from_others(y, log_snr)
            own_mean, own_variance = self._skip.mean.to(y), self._skip.covariance.diagonal().to(y)
            close = (self.levels - mean[..., None]).square() / variance[..., None]
            usual = (self.levels - own_mean[:, None]).square() / own_variance[:, None]
            own = own - 0.5 * self.gate * (close - usual)
        return torch.log_softmax(own + self.log_frequency - 0.5 * noise.square(), -1)

    def output(self, y: Tensor, log_snr: Tensor) -> Tensor:
        return (self.log_probabilities(y, log_snr).exp() * self.levels).sum(-1)


class HeadReconstruction(Reconstruction):
    """The probability of a level by the model itself: never worse on average than the Gaussian's, once trained.

    Args:
        model: The model.
        levels: As it was given, `dim x count` with NaN.
    """

    def __init__(self, model: LevelModel, levels: Tensor) -> None:
        self._model, self._levels = model, levels.double()

    def lift(self, x: Tensor, uniform: Tensor) -> Tensor:
        return x

    def nats(self, x: Tensor, eps: Tensor, log_snr: float) -> Tensor:
        level = torch.full((len(x),), log_snr, dtype=torch.float64, device=x.device)
        place = preserving(level)
        y = place.alpha.to(x) * x + place.sigma.to(x) * eps.to(x)
        chosen = level_index(x, self._levels)
        with torch.no_grad():
            log_probability = self._model.log_probabilities(y, level)
        return -log_probability.gather(-1, chosen[..., None]).squeeze(-1).double().sum(-1)


def level_frequencies(data: Tensor, levels: Tensor, pseudo_count: float = 0.5) -> Tensor:
    """Frequencies of levels, `dim x count` with NaN, in data, `rows x dim`, `pseudo_count` added to every count."""
    chosen = level_index(data, levels)
    counts = torch.zeros_like(levels).scatter_add_(1, chosen.mT, torch.ones_like(chosen.mT, dtype=levels.dtype))
    counts = torch.where(levels.isnan(), torch.nan, counts + pseudo_count)
    return counts / counts.nansum(1, keepdim=True)
