"""The pair (alpha, sigma) of a noising process z = alpha x + sigma eps, functions of lambda = log(alpha^2 / sigma^2).

Every pair is the variance preserving one times rho = sqrt(alpha^2 + sigma^2). Which levels are visited, and how often,
is no part of it: see `density`.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Level", "Rectified", "Schedule", "VarianceExploding", "VariancePreserving", "preserving"]


class Level(NamedTuple):
    """A noise level, or one for each row; all `(batch, 1)`, or `(1,)` for a single level."""

    log_snr: Tensor
    """lambda."""
    alpha: Tensor
    sigma: Tensor
    slope: Tensor
    """d log alpha / d lambda; that of log sigma is less by 1/2."""

    @property
    def rho(self) -> Tensor:
        """sqrt(alpha^2 + sigma^2): z over its variance preserving counterpart."""
        return torch.hypot(self.alpha, self.sigma)

    def like(self, x: Tensor) -> "Level":
        """The same in x's element type, on its device."""
        return Level(*(part.to(x) for part in self))

    def noised(self, x: Tensor, eps: Tensor) -> Tensor:
        """alpha x + sigma eps, `batch x dim`."""
        return self.alpha * x + self.sigma * eps

    def noise(self, z: Tensor, x: Tensor) -> Tensor:
        """The eps, `batch x dim`, with which x, `batch x dim`, gives z."""
        return (z - self.alpha * x) / self.sigma


class Schedule(ABC):
    """alpha and sigma as functions of lambda."""

    def at(self, log_snr: Tensor) -> Level:
        """The levels of log_snr, `(batch,)` or a scalar, as columns."""
        column = log_snr[..., None]
        log_alpha, slope = self._log_alpha(column)
        return Level(column, log_alpha.exp(), (log_alpha - 0.5 * column).exp(), slope)

    @abstractmethod
    def _log_alpha(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """log alpha and its derivative in lambda."""


class VariancePreserving(Schedule):
    """alpha^2 + sigma^2 = 1 (Song et al. 2021)."""

    def _log_alpha(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return 0.5 * functional.logsigmoid(log_snr), 0.5 * torch.sigmoid(-log_snr)


class Rectified(Schedule):
    """alpha = 1 - t, sigma = t: straight lines from data to noise (Liu et al. 2023; Lipman et al. 2023)."""

    def _log_alpha(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        half = 0.5 * log_snr
        return functional.logsigmoid(half), 0.5 * torch.sigmoid(-half)


class VarianceExploding(Schedule):
    """alpha = 1 (Karras et al. 2022)."""

    def _log_alpha(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        zero = torch.zeros_like(log_snr)
        return zero, zero


_PRESERVING = VariancePreserving()


def preserving(log_snr: Tensor) -> Level:
    """The variance preserving level of log_snr, `(batch,)` or a scalar: the scale of y."""
    return _PRESERVING.at(log_snr)
