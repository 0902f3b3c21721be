"""Densities p(lambda) of noise levels: what t ~ U(0, 1) induces through a schedule lambda(t), 1 / |d lambda / dt|.

Time runs from data (0) to noise (1), lambda falls with it, so that lambda(t) is the quantile of 1 - t. All is float64.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "Cosine", "Histogram", "LevelDensity", "LinearBeta", "Logistic", "Normal", "Truncated", "Uniform",
    "log_normal_noise", "logit_normal_time", "quantile_grid", "straight",
]  # fmt: skip


class LevelDensity(ABC):
    """A density on the line of lambda."""

    @abstractmethod
    def log_density(self, log_snr: Tensor) -> Tensor:
        """log p at any shape of lambda; -inf outside the support."""

    @abstractmethod
    def cdf(self, log_snr: Tensor) -> Tensor:
        """Share of levels noisier than lambda, any shape: 1 - t."""

    @abstractmethod
    def quantile(self, share: Tensor) -> Tensor:
        """Inverse of `cdf`, any shape, shares in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Cosine(LevelDensity):
    """lambda = -2 log tan(pi t / 2) + 2 shift (Nichol and Dhariwal 2021): p = sech(lambda / 2 - shift) / (2 pi)."""

    shift: float = 0.0
    """log of the factor by which alpha / sigma grows."""

    def log_density(self, log_snr: Tensor) -> Tensor:
        half = (0.5 * log_snr - self.shift).abs()
        return -half - torch.log1p(torch.exp(-2.0 * half)) - math.log(math.pi)

    def cdf(self, log_snr: Tensor) -> Tensor:
        return (2.0 / math.pi) * torch.atan(torch.exp(0.5 * log_snr - self.shift))

    def quantile(self, share: Tensor) -> Tensor:
        return 2.0 * (torch.tan((0.5 * math.pi) * share).log() + self.shift)


@dataclass(frozen=True, slots=True)
class LinearBeta(LevelDensity):
    """lambda = -log expm1(B(t)), B = least t + (most - least) t^2 / 2 (Ho et al. 2020; Song et al. 2021)."""

    least: float = 0.1
    most: float = 20.0

    def log_density(self, log_snr: Tensor) -> Tensor:
        time = self._time(log_snr)
        rate = self.least + (self.most - self.least) * time
        return torch.where(time <= 1.0, functional.logsigmoid(-log_snr) - rate.log(), -math.inf)

    def cdf(self, log_snr: Tensor) -> Tensor:
        return (1.0 - self._time(log_snr)).relu()

    def quantile(self, share: Tensor) -> Tensor:
        time = 1.0 - share
        return -torch.expm1(self.least * time + 0.5 * (self.most - self.least) * time.square()).log()

    def _time(self, log_snr: Tensor) -> Tensor:
        total = functional.softplus(-log_snr)
        root = (self.least**2 + 2.0 * (self.most - self.least) * total).sqrt()
        return 2.0 * total / (self.least + root)


@dataclass(frozen=True, slots=True)
class Uniform(LevelDensity):
    """lambda linear in t, from `high` to `low` (Kingma et al. 2021)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range(self.low, self.high)

    def log_density(self, log_snr: Tensor) -> Tensor:
        inside = (log_snr >= self.low) & (log_snr <= self.high)
        return torch.where(inside, torch.full_like(log_snr, -math.log(self.high - self.low)), -math.inf)

    def cdf(self, log_snr: Tensor) -> Tensor:
        return ((log_snr - self.low) / (self.high - self.low)).clamp(0.0, 1.0)

    def quantile(self, share: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * share


@dataclass(frozen=True, slots=True)
class Logistic(LevelDensity):
    """p = sech^2((lambda - location) / (2 scale)) / (4 scale)."""

    location: float
    scale: float

    def log_density(self, log_snr: Tensor) -> Tensor:
        standard = (log_snr - self.location) / self.scale
        return functional.logsigmoid(standard) + functional.logsigmoid(-standard) - math.log(self.scale)

    def cdf(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid((log_snr - self.location) / self.scale)

    def quantile(self, share: Tensor) -> Tensor:
        return self.location + self.scale * torch.logit(share)


@dataclass(frozen=True, slots=True)
class Normal(LevelDensity):
    """N(mean, deviation^2)."""

    mean: float
    deviation: float

    def log_density(self, log_snr: Tensor) -> Tensor:
        standard = (log_snr - self.mean) / self.deviation
        return -0.5 * standard.square() - math.log(self.deviation * math.sqrt(2.0 * math.pi))

    def cdf(self, log_snr: Tensor) -> Tensor:
        share: Tensor = torch.special.ndtr((log_snr - self.mean) / self.deviation)
        return share

    def quantile(self, share: Tensor) -> Tensor:
        standard: Tensor = torch.special.ndtri(share)
        return self.mean + self.deviation * standard


@dataclass(frozen=True, slots=True)
class Truncated(LevelDensity):
    """`base` between `low` and `high`, normalised.

    Raises:
        ValueError: If low is not below high or `base` has no mass between them.
    """

    base: LevelDensity
    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range(self.low, self.high)
        if not self._ends()[1] > self._ends()[0]:
            raise ValueError(f"the levels' density has no mass between log_snr {self.low} and {self.high}")

    def log_density(self, log_snr: Tensor) -> Tensor:
        first, last = self._ends()
        inside = (log_snr >= self.low) & (log_snr <= self.high)
        return torch.where(inside, self.base.log_density(log_snr) - math.log(last - first), -math.inf)

    def cdf(self, log_snr: Tensor) -> Tensor:
        first, last = self._ends()
        return ((self.base.cdf(log_snr) - first) / (last - first)).clamp(0.0, 1.0)

    def quantile(self, share: Tensor) -> Tensor:
        first, last = self._ends()
        # Rounding must not leave the range: outside it the density is zero.
        return self.base.quantile(first + (last - first) * share).clamp(self.low, self.high)

    def _ends(self) -> tuple[float, float]:
        ends = self.base.cdf(torch.tensor([self.low, self.high], dtype=torch.float64))
        return float(ends[0]), float(ends[1])


class Histogram(LevelDensity):
    """Piecewise constant on bins.

    Args:
        edges: `(bins + 1,)`, increasing.
        mass: `(bins,)`, positive; normalised here.

    Raises:
        ValueError: For other shapes or values.
    """

    def __init__(self, edges: Tensor, mass: Tensor) -> None:
        if edges.ndim != 1 or tuple(mass.shape) != (edges.shape[0] - 1,):
            raise ValueError(
                f"edges (bins + 1,) and mass (bins,) expected, got {tuple(edges.shape)}, {tuple(mass.shape)}"
            )
        if not ((edges.diff() > 0).all() and (mass > 0).all() and mass.isfinite().all()):
            raise ValueError("edges must increase, and every bin must have positive finite mass")
        self._edges, share = edges.double(), mass.double() / mass.double().sum()
        self._cumulative = torch.cat([share.new_zeros(1), share.cumsum(0)])
        # The sum is one up to rounding; the last level must not lie beyond the last edge.
        self._cumulative[-1] = 1.0
        self._density = self._cumulative.diff() / self._edges.diff()

    def log_density(self, log_snr: Tensor) -> Tensor:
        inside = (log_snr >= self._edges[0]) & (log_snr <= self._edges[-1])
        return torch.where(inside, self._density.log()[self._bin(self._edges, log_snr)], -math.inf)

    def cdf(self, log_snr: Tensor) -> Tensor:
        n = self._bin(self._edges, log_snr)
        return (self._cumulative[n] + self._density[n] * (log_snr - self._edges[n])).clamp(0.0, 1.0)

    def quantile(self, share: Tensor) -> Tensor:
        n = self._bin(self._cumulative, share)
        return self._edges[n] + (share - self._cumulative[n]) / self._density[n]

    def _bin(self, edges: Tensor, value: Tensor) -> Tensor:
        return (torch.searchsorted(edges, value.contiguous(), right=True) - 1).clamp(0, edges.shape[0] - 2)


def straight() -> Logistic:
    """The levels of alpha = 1 - t, sigma = t under uniform t: lambda = 2 log((1 - t) / t)."""
    return Logistic(0.0, 2.0)


def log_normal_noise(mean: float = -1.2, deviation: float = 1.2) -> Normal:
    """log(sigma / alpha) ~ N(mean, deviation^2) (Karras et al. 2022)."""
    return Normal(-2.0 * mean, 2.0 * deviation)


def logit_normal_time(mean: float = 0.0, deviation: float = 1.0) -> Normal:
    """logit t ~ N(mean, deviation^2) on the straight path (Esser et al. 2024)."""
    return Normal(-2.0 * mean, 2.0 * deviation)


def _check_range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"log_snr must run from a finite low to a higher finite high, got {low} and {high}")


def quantile_grid(density: LevelDensity, steps: int) -> Tensor:
    """Levels at equal distances of the density's time, `(steps + 1,)`; of a uniform density, equal in lambda."""
    return density.quantile(torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64))
