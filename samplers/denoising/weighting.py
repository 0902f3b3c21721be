"""How much each noise level counts: the multiplier W of |eps - eps'|^2 in a loss, and the w(lambda) that it implies.

With levels from p(lambda) the loss is the integral of w(lambda) E|eps - eps'|^2 / 2, w = p W (Kingma and Gao 2023).
w = 1 is the ELBO, whatever p; a w that does not increase with lambda is an ELBO of data with added noise. Papers quote
W and leave p to the schedule, so the two are separate objects here, and `implied_weight` shows their product.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .density import LevelDensity
from .prediction import Prediction
from .schedule import Level, Schedule

__all__ = [
    "Explicit", "InSpace", "PerSample", "WeightCurve", "Weighting", "elbo", "implied_weight", "mean_weight", "min_snr",
    "p2", "sigmoid", "simple", "soft_min_snr", "truncated_snr",
]  # fmt: skip

# Relative rounding below which a weight does not count as increasing.
_ROUNDING = 1e-9

_Function = Callable[[Tensor], Tensor]
"""Of lambda, any shape, to positive numbers of the same shape."""


class Weighting(ABC):
    """A rule for W."""

    @abstractmethod
    def multiplier(self, level: Level, inverse_density: Tensor) -> Tensor:
        """W, `(batch,)`, at levels of the schedule with 1 / p(lambda), `(batch,)`."""


@dataclass(frozen=True, slots=True)
class Explicit(Weighting):
    """A given w(lambda): W = w / p."""

    weight: _Function

    def multiplier(self, level: Level, inverse_density: Tensor) -> Tensor:
        return self.weight(level.log_snr[..., 0]) * inverse_density


@dataclass(frozen=True, slots=True)
class PerSample(Weighting):
    """A given W(lambda); w(lambda) then depends on the schedule's density."""

    weight: _Function

    def multiplier(self, level: Level, inverse_density: Tensor) -> Tensor:
        return self.weight(level.log_snr[..., 0])


@dataclass(frozen=True, slots=True)
class InSpace(Weighting):
    """A given multiplier of some prediction's squared error: W = weight / kappa. EDM and flow matching are these."""

    prediction: Prediction
    weight: _Function

    def multiplier(self, level: Level, inverse_density: Tensor) -> Tensor:
        return self.weight(level.log_snr[..., 0]) / self.prediction.kappa(level)


def elbo() -> Explicit:
    """w = 1: maximum likelihood (Kingma et al. 2021; Song et al. 2021)."""
    return Explicit(torch.ones_like)


def sigmoid(bias: float = 2.0) -> Explicit:
    """A logistic step down in lambda at `bias`, as w (Kingma and Gao 2023)."""
    return Explicit(lambda log_snr: torch.sigmoid(bias - log_snr))


def simple(prediction: Prediction) -> InSpace:
    """The plain squared error of a prediction (of the noise: Ho et al. 2020)."""
    return InSpace(prediction, torch.ones_like)


def min_snr(gamma: float = 5.0) -> PerSample:
    """W = min(1, gamma / SNR) (Hang et al. 2023)."""
    return PerSample(lambda log_snr: (math.log(gamma) - log_snr).clamp(max=0.0).exp())


def soft_min_snr(gamma: float = 5.0) -> PerSample:
    """W = gamma / (gamma + SNR) (Crowson et al. 2024)."""
    return PerSample(lambda log_snr: torch.sigmoid(math.log(gamma) - log_snr))


def p2(offset: float = 1.0, gamma: float = 1.0) -> PerSample:
    """W = (offset + SNR)^-gamma (Choi et al. 2022)."""
    shift = math.log(offset)
    return PerSample(lambda log_snr: (-gamma * torch.logaddexp(torch.full_like(log_snr, shift), log_snr)).exp())


def truncated_snr() -> PerSample:
    """W = max(1, 1 / SNR) (Salimans and Ho 2022)."""
    return PerSample(lambda log_snr: (-log_snr).relu().exp())


class WeightCurve(NamedTuple):
    """w(lambda) on a grid."""

    log_snr: Tensor
    """`(points,)`, increasing."""
    weight: Tensor
    """`(points,)`."""

    @property
    def monotone(self) -> bool:
        """Whether w never increases with lambda on the grid, up to rounding: an ELBO of noisier data if so."""
        return bool((self.weight[1:] <= self.weight[:-1] * (1.0 + _ROUNDING)).all())

    def described(self, rows: int = 9) -> str:
        """A table of w at about so many levels, the largest one as 1, and what its shape means."""
        stride = max(1, (len(self.weight) - 1) // max(1, rows - 1))
        largest = float(self.weight.max())
        pairs = zip(self.log_snr[::stride].tolist(), self.weight[::stride].tolist(), strict=True)
        verdict = (
            "never increases with log_snr: the ELBO of data with added noise"
            if self.monotone
            else "increases somewhere with log_snr: no ELBO"
        )
        return "\n".join([f"{at:8.2f}  {weight / largest:.3e}" for at, weight in pairs] + [verdict])


def implied_weight(weighting: Weighting, schedule: Schedule, density: LevelDensity, log_snr: Tensor) -> WeightCurve:
    """w = p W at increasing log_snr, `(points,)`, inside the density's support."""
    log_density = density.log_density(log_snr)
    multiplier = weighting.multiplier(schedule.at(log_snr), (-log_density).exp())
    return WeightCurve(log_snr, log_density.exp() * multiplier)


def mean_weight(weighting: Weighting, schedule: Schedule, density: LevelDensity, points: int = 1024) -> float:
    """E_p[W] by midpoints of the density's quantiles: for curves that are to be compared, never for bounds."""
    share = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    log_snr = density.quantile(share)
    inverse_density = (-density.log_density(log_snr)).exp()
    return float(weighting.multiplier(schedule.at(log_snr), inverse_density).mean())
