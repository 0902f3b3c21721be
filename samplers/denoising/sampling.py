"""Noise levels of a training batch: where they lie, and the weights that keep the objective what it is.

The schedule's density p defines the objective. Levels may come from another density q: each then counts p / q, so that
only the noise of the estimate changes. In discrete time, T steps, level i stands at time i / T; the ELBO's factor
1 / p is then T expm1(lambda_s - lambda_t) with s = t - 1/T, the loss of T steps whose reverse variances are the
posterior's (Kingma et al. 2021), and q is taken in the cells between neighbours.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from .density import Histogram, LevelDensity, quantile_grid

__all__ = ["AdaptiveHistogram", "Independent", "Levels", "LowDiscrepancy", "NoiseLevels", "Placement", "Stratified"]

# Half the spacing of float64 uniforms: a share of exactly 0 would be a level of -infinity.
_LEAST_SHARE = 2.0**-54


class Placement(ABC):
    """How independent uniforms become the shares of a batch, each still uniform."""

    @abstractmethod
    def place(self, uniform: Tensor) -> Tensor:
        """Shares in [0, 1), `(batch,)`, from uniforms in [0, 1), `(batch,)`."""


class Independent(Placement):
    """As they come."""

    def place(self, uniform: Tensor) -> Tensor:
        return uniform


class LowDiscrepancy(Placement):
    """One uniform, then equal distances (Kingma et al. 2021). Rows of data must come in random order."""

    def place(self, uniform: Tensor) -> Tensor:
        batch = uniform.shape[0]
        return (uniform[:1] + torch.arange(batch, dtype=uniform.dtype, device=uniform.device) / batch) % 1.0


class Stratified(Placement):
    """One uniform in each of `batch` equal parts. Rows of data must come in random order."""

    def place(self, uniform: Tensor) -> Tensor:
        batch = uniform.shape[0]
        return (uniform + torch.arange(batch, dtype=uniform.dtype, device=uniform.device)) / batch


class Levels(NamedTuple):
    """The noise levels of a batch; all `(batch,)` float64."""

    log_snr: Tensor
    inverse_density: Tensor
    """1 / p of the schedule, or its counterpart in discrete time."""
    importance: Tensor
    """p / q."""


class NoiseLevels:
    """A source of noise levels.

    Args:
        density: The schedule's p, with bounded support where time is discrete.
        placement: How shares are placed.
        proposal: q; None: p itself.
        steps: T of discrete time; None: continuous.

    Raises:
        ValueError: If steps is below 1, or the ends of discrete time are not finite.
    """

    def __init__(
        self,
        density: LevelDensity,
        placement: Placement,
        proposal: LevelDensity | None = None,
        steps: int | None = None,
    ) -> None:
        self.density, self._placement, self._proposal = density, placement, proposal
        self._grid = None if steps is None else _grid(density, steps)

    def sample(self, uniform: Tensor) -> Levels:
        """Levels from independent uniforms in [0, 1), `(batch,)` float64."""
        share = self._placement.place(uniform).clamp(min=_LEAST_SHARE)
        if self._grid is not None:
            return self._discrete(share, self._grid)
        log_snr = (self._proposal or self.density).quantile(share)
        log_density = self.density.log_density(log_snr)
        if self._proposal is None:
            return Levels(log_snr, (-log_density).exp(), torch.ones_like(log_snr))
        return Levels(log_snr, (-log_density).exp(), (log_density - self._proposal.log_density(log_snr)).exp())

    def _discrete(self, share: Tensor, grid: Tensor) -> Levels:
        steps = grid.shape[0] - 1
        proposal = self._proposal or self.density
        cumulative = proposal.cdf(grid)
        ends = cumulative / cumulative[-1]
        cell = (torch.searchsorted(ends, share, right=True) - 1).clamp(0, steps - 1)
        probability = ends.diff()[cell]
        factor = steps * torch.expm1(grid.diff()[cell])
        return Levels(grid[cell], factor, 1.0 / (steps * probability))


class AdaptiveHistogram(LevelDensity):
    """A proposal that follows the loss: q(lambda) in proportion to a running mean of w(lambda) E|eps - eps'|^2.

    After Kingma and Gao 2023. Levels of equal loss a unit of q leave an importance weighted loss that is flat in q.

    Args:
        low: Lowest lambda.
        high: Highest lambda.
        bins: Their number.
        decay: Weight of the past when a bin is seen again, in [0, 1).
        floor: Share of q that stays uniform, in (0, 1]: no level is forgotten.
    """

    def __init__(self, low: float, high: float, bins: int = 100, decay: float = 0.95, floor: float = 0.1) -> None:
        self._edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
        self._seen, self._decay, self._floor = torch.full((bins,), torch.nan, dtype=torch.float64), decay, floor
        self._current = Histogram(self._edges, torch.ones(bins, dtype=torch.float64))

    def note(self, levels: Levels, loss: Tensor) -> None:
        """Learn from a batch drawn by this proposal and its importance weighted losses, `(batch,)`."""
        height = loss.detach().double() * self.log_density(levels.log_snr).exp()
        cell = (torch.searchsorted(self._edges, levels.log_snr, right=True) - 1).clamp(0, len(self._seen) - 1)
        count = torch.zeros_like(self._seen).index_add_(0, cell, torch.ones_like(height))
        mean = torch.zeros_like(self._seen).index_add_(0, cell, height) / count
        mixed = torch.where(self._seen.isnan(), mean, self._decay * self._seen + (1.0 - self._decay) * mean)
        self._seen = torch.where((count > 0) & mean.isfinite(), mixed, self._seen)
        self._rebuild()

    def log_density(self, log_snr: Tensor) -> Tensor:
        return self._current.log_density(log_snr)

    def cdf(self, log_snr: Tensor) -> Tensor:
        return self._current.cdf(log_snr)

    def quantile(self, share: Tensor) -> Tensor:
        return self._current.quantile(share)

    def tensors(self) -> dict[str, Tensor]:
        """The memory, for a checkpoint."""
        return {"seen": self._seen}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` returned. Raises ValueError for another number of bins."""
        if tensors["seen"].shape != self._seen.shape:
            raise ValueError(f"expected {len(self._seen)} bins, got {len(tensors['seen'])}")
        self._seen = tensors["seen"].clone()
        self._rebuild()

    def _rebuild(self) -> None:
        known = ~self._seen.isnan()
        if not bool(known.any()) or not float(self._seen[known].mean()) > 0.0:
            return
        # A bin that was never visited counts like the average one.
        mass = torch.where(known, self._seen, self._seen[known].mean())
        mass = mass / mass.mean()
        self._current = Histogram(self._edges, (1.0 - self._floor) * mass + self._floor)


def _grid(density: LevelDensity, steps: int) -> Tensor:
    """lambda at times 1, 1 - 1/T, ..., 0: increasing, `(steps + 1,)`."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    grid = quantile_grid(density, steps)
    if not bool(grid.isfinite().all()):
        raise ValueError("discrete time needs levels between finite ends: truncate the density")
    return grid
