"""What a network predicts of a noised point z = alpha x + sigma eps, and how that becomes x and eps.

Every prediction is linear, y = a x + b eps, with coefficients that depend on the level. All else is one rule: with

    D = alpha b - sigma a,    x = (b z - sigma y) / D,    eps = (alpha y - a z) / D,
    |eps - eps'|^2 = kappa |y - y'|^2,    kappa = (alpha / D)^2,

so a weight W on the squared error of eps is the weight W kappa on that of y: there is no table of weights a target.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from .density import LevelDensity
from .schedule import Level

__all__ = ["Data", "EdmOutput", "FlowVelocity", "Noise", "Prediction", "Score", "Velocity"]


class Prediction(ABC):
    """A linear combination of data and noise."""

    @abstractmethod
    def coefficients(self, level: Level) -> tuple[Tensor, Tensor]:
        """(a, b), each of the level's shape."""

    def of(self, x: Tensor, eps: Tensor, level: Level) -> Tensor:
        """The prediction's true value for data x and noise eps, all `batch x dim`."""
        a, b = self.coefficients(level)
        return a * x + b * eps

    def data(self, output: Tensor, z: Tensor, level: Level) -> Tensor:
        """x from a prediction at z, all `batch x dim`."""
        a, b = self.coefficients(level)
        return (b * z - level.sigma * output) / (level.alpha * b - level.sigma * a)

    def noise(self, output: Tensor, z: Tensor, level: Level) -> Tensor:
        """Eps from a prediction at z, all `batch x dim`."""
        a, b = self.coefficients(level)
        return (level.alpha * output - a * z) / (level.alpha * b - level.sigma * a)

    def kappa(self, level: Level) -> Tensor:
        """Squared error of eps over that of the prediction, `(batch,)`."""
        a, b = self.coefficients(level)
        return (level.alpha / (level.alpha * b - level.sigma * a)).square()[..., 0]

    def scale(self, level: Level) -> Tensor:
        """Its root mean square a dimension where data have unit variance, of the level's shape."""
        return torch.hypot(*self.coefficients(level))


@dataclass(frozen=True, slots=True)
class Noise(Prediction):
    """eps (Ho et al. 2020)."""

    def coefficients(self, level: Level) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(level.alpha), torch.ones_like(level.alpha)


@dataclass(frozen=True, slots=True)
class Data(Prediction):
    """x."""

    def coefficients(self, level: Level) -> tuple[Tensor, Tensor]:
        return torch.ones_like(level.alpha), torch.zeros_like(level.alpha)


@dataclass(frozen=True, slots=True)
class Velocity(Prediction):
    """v = alpha eps - sigma x (Salimans and Ho 2022)."""

    def coefficients(self, level: Level) -> tuple[Tensor, Tensor]:
        return -level.sigma, level.alpha


@dataclass(frozen=True, slots=True)
class Score(Prediction):
    """-eps / sigma, whose mean given z is the score of z's density (an energy is a way of computing it)."""

    def coefficients(self, level: Level) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(level.alpha), -1.0 / level.sigma


@dataclass(frozen=True, slots=True)
class FlowVelocity(Prediction):
    """u = dz/dt = alpha' x + sigma' eps (Lipman et al. 2023); time runs to noise, by `clock`."""

    clock: LevelDensity
    """The density of levels under uniform time: d lambda / dt = -1 / p(lambda)."""

    def coefficients(self, level: Level) -> tuple[Tensor, Tensor]:
        log_rate = -self.clock.log_density(level.log_snr)
        # Beyond the clock's ends there is no time, and any scale will do: nothing is trained there.
        rate = torch.where(log_rate.isfinite(), log_rate, 0.0).exp()
        return -rate * level.slope * level.alpha, rate * (0.5 - level.slope) * level.sigma


@dataclass(frozen=True, slots=True)
class EdmOutput(Prediction):
    """F of Karras et al. 2022: x = c_skip z / alpha + c_out F, for data of standard deviation `data_scale`."""

    data_scale: float = 1.0

    def coefficients(self, level: Level) -> tuple[Tensor, Tensor]:
        noise_scale = (-0.5 * level.log_snr).exp()
        total = torch.hypot(noise_scale, torch.full_like(noise_scale, self.data_scale))
        return noise_scale / (self.data_scale * total), -self.data_scale / total
