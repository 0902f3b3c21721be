"""The probability flow of a denoiser: an ordinary differential equation whose map from data to noise has a density.

In the variance preserving scale, with x' the denoiser's data,

    dy/dlambda = alpha (x' - alpha y) / 2,    divergence = alpha (tr(dx'/dy) - alpha dim) / 2

(Song et al. 2021, in lambda). From y = alpha x at `high` down to `low`, where y is standard normal,

    log p(x) = log N(y_low; 0, I) + dim log alpha_high + integral of the divergence, lambda from high to low.

Fixed Runge-Kutta steps, uniform in lambda, so that the density is one function of x. It is another model's than the
ELBO's: the two agree for the exact score only, and neither bounds the other.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from gephyra.targets.gaussian import LOG_SQRT_2PI

from ..random import keyed_generator
from .denoiser import Denoiser
from .schedule import preserving

__all__ = [
    "LARGEST_EXACT",
    "Divergence",
    "ExactDivergence",
    "FrozenProbes",
    "ProbabilityFlow",
    "flow_slope",
    "runge_kutta",
    "slope_and_divergence",
]

LARGEST_EXACT = 100
"""Dimension up to which the divergence is computed exactly: it costs one backward pass a dimension."""


class Divergence(ABC):
    """A way to the trace of a Jacobian."""

    @abstractmethod
    def trace(self, value: Tensor, y: Tensor, *, live: bool) -> Tensor:
        """Trace of d value / d y, `(batch,)`; both `batch x dim`, row by row. `live`: it can be differentiated."""


class ExactDivergence(Divergence):
    """One backward pass a dimension."""

    def trace(self, value: Tensor, y: Tensor, *, live: bool) -> Tensor:
        total = y.new_zeros(y.shape[0])
        for d in range(y.shape[1]):
            (row,) = torch.autograd.grad(value[:, d].sum(), y, retain_graph=True, create_graph=live)
            total = total + row[:, d]
        return total


class FrozenProbes(Divergence):
    """Hutchinson's estimate with the same signs for every point, step and call: a deterministic function of x.

    Args:
        dim: Dimension.
        count: Number of probes that are averaged.
        seed: Seed of their signs.
    """

    def __init__(self, dim: int, count: int = 8, seed: int = 0) -> None:
        if count < 1:
            raise ValueError(f"count of probes must be at least 1, got {count}")
        signs = keyed_generator("flow/probes", seed).integers(0, 2, (count, dim))
        self._probes = torch.from_numpy(2.0 * signs - 1.0)

    def trace(self, value: Tensor, y: Tensor, *, live: bool) -> Tensor:
        total = y.new_zeros(y.shape[0])
        for probe in self._probes.to(y):
            (product,) = torch.autograd.grad((value @ probe).sum(), y, retain_graph=True, create_graph=live)
            total = total + product @ probe
        return total / len(self._probes)


class ProbabilityFlow:
    """The flow between two levels.

    Args:
        denoiser: Of dimension dim.
        low: Lowest lambda.
        high: Highest lambda; exp(-high / 2) should be a tenth of the finest scale in the data or less.
        steps: Runge-Kutta steps, four evaluations of the denoiser each.
        divergence: None: exact.

    Raises:
        ValueError: If exact divergence is asked for in more than `LARGEST_EXACT` dimensions, or steps is below 1.
    """

    def __init__(
        self, denoiser: Denoiser, low: float, high: float, steps: int = 64, divergence: Divergence | None = None
    ) -> None:
        if divergence is None and denoiser.dim > LARGEST_EXACT:
            raise ValueError(
                f"exact divergence is for at most {LARGEST_EXACT} dimensions, got {denoiser.dim}: use probes"
            )
        if steps < 1 or not low < high:
            raise ValueError(f"expected at least one step from low to a higher high, got {steps} from {low} to {high}")
        self.denoiser, self._divergence = denoiser, divergence or ExactDivergence()
        self._grid = torch.linspace(low, high, steps + 1, dtype=torch.float64)

    def log_density(self, x: Tensor) -> Tensor:
        """log p at x, `batch x dim`: `(batch,)` float64. Differentiable in x where x requires grad."""
        live = x.requires_grad and torch.is_grad_enabled()
        alpha = self._alpha(x, -1)
        state = torch.cat([alpha * x, x.new_zeros(x.shape[0], 1)], 1)

        def slope(state: Tensor, log_snr: Tensor) -> Tensor:
            slope, change = slope_and_divergence(self.denoiser, self._divergence, state[:, :-1], log_snr, live=live)
            return torch.cat([slope, change[:, None]], 1)

        for before, after in itertools.pairwise(self._grid.flip(0)):
            state = runge_kutta(slope, state, before, after)
        y, change = state[:, :-1].double(), state[:, -1].double()
        start = -0.5 * y.square().sum(1) - x.shape[1] * LOG_SQRT_2PI
        return start + change + x.shape[1] * alpha.double().log()

    def noise_of(self, x: Tensor) -> Tensor:
        """Where the flow takes x, `batch x dim`, at the lowest lambda; standard normal for draws of p."""
        with torch.no_grad():
            return self._integrate(self._alpha(x, -1) * x, self._grid.flip(0))

    def sample(self, noise: Tensor) -> Tensor:
        """Draws of p, `batch x dim`, from standard normal noise, `batch x dim`: the inverse of `noise_of`."""
        with torch.no_grad():
            return self._integrate(noise, self._grid) / self._alpha(noise, -1)

    def _integrate(self, y: Tensor, grid: Tensor) -> Tensor:
        for before, after in itertools.pairwise(grid):
            y = runge_kutta(self._slope, y, before, after)
        return y

    def _slope(self, y: Tensor, log_snr: Tensor) -> Tensor:
        return flow_slope(self.denoiser, y, log_snr)

    def _alpha(self, like: Tensor, index: int) -> Tensor:
        return preserving(self._grid[index]).alpha.to(like)


def flow_slope(denoiser: Denoiser, y: Tensor, log_snr: Tensor) -> Tensor:
    """dy/dlambda at y, `batch x dim`, and a level, a float64 scalar."""
    alpha = preserving(log_snr).alpha.to(y)
    return 0.5 * alpha * (denoiser.data(y, log_snr[None]) - alpha * y)


def slope_and_divergence(
    denoiser: Denoiser, divergence: Divergence, y: Tensor, log_snr: Tensor, *, live: bool
) -> tuple[Tensor, Tensor]:
    """dy/dlambda and its divergence, `(batch,)`, at y, `batch x dim`, and a level, a float64 scalar.

    With `live` both can be differentiated, in y too, which then requires grad; else they are constants.
    """
    with torch.enable_grad():
        y = y if live else y.detach().requires_grad_()
        data = denoiser.data(y, log_snr[None])
        trace = divergence.trace(data, y, live=live)
    alpha = preserving(log_snr).alpha.to(y)
    slope = 0.5 * alpha * (data - alpha * y)
    change = 0.5 * alpha * (trace - alpha * y.shape[1])
    return (slope, change) if live else (slope.detach(), change.detach())


def runge_kutta(slope: Callable[[Tensor, Tensor], Tensor], state: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """One classical fourth-order step of d state / d lambda = slope(state, lambda) between two levels."""
    width = float(after - before)
    middle = before + 0.5 * width
    first = slope(state, before)
    second = slope(state + 0.5 * width * first, middle)
    third = slope(state + 0.5 * width * second, middle)
    fourth = slope(state + width * third, after)
    return state + width / 6.0 * (first + 2.0 * (second + third) + fourth)
