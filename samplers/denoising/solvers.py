"""From noise to data along a grid of levels: one loop, and a rule a step for each solver.

All work in the variance preserving scale and ask the denoiser for data only, so that no solver knows what a network
predicts. The grid rises in lambda, from noise to data.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .denoiser import Denoiser
from .flow import runge_kutta
from .kernel import Place, reversal

__all__ = [
    "Ancestral", "Clipped", "Ddim", "DpmSolver2M", "EulerMaruyama", "Flow", "Heun", "Solver", "Step", "generate",
    "karras_grid", "noise_rows", "trajectory",
]  # fmt: skip


class Step(NamedTuple):
    """What a rule is given."""

    denoiser: Denoiser
    y: Tensor
    """Where the step starts, `batch x dim`."""
    data: Tensor
    """The denoiser's data there."""
    here: Place
    there: Place
    before: "Step | None"
    """The step that led here."""
    last: bool
    noise: Tensor | None
    """Standard normal, `batch x dim`; None for a solver without noise."""

    def fresh(self) -> Tensor:
        """The noise. Raises ValueError where there is none."""
        if self.noise is None:
            raise ValueError("this solver needs noise for every step")
        return self.noise

    def data_at(self, y: Tensor, log_snr: float) -> Tensor:
        """The denoiser's data elsewhere."""
        return self.denoiser.data(y, torch.full((len(y),), log_snr, dtype=torch.float64, device=y.device))


class Solver(ABC):
    """A rule for one step."""

    @property
    @abstractmethod
    def noisy(self) -> bool:
        """Whether its steps need noise."""

    @abstractmethod
    def step(self, given: Step) -> Tensor:
        """The next point, `batch x dim`."""


@dataclass(frozen=True)
class Ancestral(Solver):
    """Reversed noising kernels (Ho et al. 2020)."""

    interpolation: float = 0.0
    """Of the log variance: 0 small, 1 large (`kernel`)."""

    noisy = True

    def step(self, given: Step) -> Tensor:
        law = reversal(given.y, given.data, given.here, given.there, self.interpolation)
        return law.draw(given.fresh())


@dataclass(frozen=True)
class Ddim(Solver):
    """The same data and noise at the next level (Song et al. 2021), a share of the noise drawn anew."""

    eta: float = 0.0
    """0: none, the flow's first order solver; 1: `Ancestral` with the small variance."""

    @property
    def noisy(self) -> bool:
        return self.eta > 0.0

    def step(self, given: Step) -> Tensor:
        here, there = given.here, given.there
        fresh = self.eta * there.sigma * math.sqrt(-math.expm1(here.log_snr - there.log_snr))
        ratio = math.sqrt(there.sigma**2 - fresh**2) / here.sigma
        mean = ratio * given.y + (there.alpha - ratio * here.alpha) * given.data
        return mean + fresh * given.fresh() if self.noisy else mean


@dataclass(frozen=True)
class DpmSolver2M(Solver):
    """DPM-Solver++(2M) (Lu et al. 2022): second order from the last two answers; first and last step first order."""

    noisy = False

    def step(self, given: Step) -> Tensor:
        here, there, data = given.here, given.there, given.data
        width = 0.5 * (there.log_snr - here.log_snr)
        if given.before is not None and not given.last:
            share = width / (here.log_snr - given.before.here.log_snr)
            data = (1.0 + share) * data - share * given.before.data
        return there.sigma / here.sigma * given.y - there.alpha * math.expm1(-width) * data


@dataclass(frozen=True)
class Heun(Solver):
    """Second order in sigma / alpha (Karras et al. 2022): two evaluations a step."""

    noisy = False

    def step(self, given: Step) -> Tensor:
        here, there = given.here, given.there
        scaled, from_scale, to_scale = given.y / here.alpha, here.sigma / here.alpha, there.sigma / there.alpha
        slope = (scaled - given.data) / from_scale
        guess = scaled + (to_scale - from_scale) * slope
        other = (guess - given.data_at(there.alpha * guess, there.log_snr)) / to_scale
        return there.alpha * (scaled + (to_scale - from_scale) * 0.5 * (slope + other))


@dataclass(frozen=True)
class EulerMaruyama(Solver):
    """The reverse stochastic differential equation in lambda (Song et al. 2021)."""

    noisy = True

    def step(self, given: Step) -> Tensor:
        here, width = given.here, given.there.log_snr - given.here.log_snr
        drift = (0.5 * here.sigma**2 - 1.0) * given.y + here.alpha * given.data
        return given.y + width * drift + math.sqrt(width) * here.sigma * given.fresh()


@dataclass(frozen=True)
class Flow(Solver):
    """The probability flow by classical Runge-Kutta steps in lambda: four evaluations a step."""

    noisy = False

    def step(self, given: Step) -> Tensor:
        def slope(y: Tensor, log_snr: Tensor) -> Tensor:
            place = Place.at(float(log_snr))
            # The first of four slopes is at the start, where the loop has asked already.
            data = given.data if y is given.y else given.data_at(y, place.log_snr)
            return 0.5 * place.alpha * (data - place.alpha * y)

        ends = torch.tensor([given.here.log_snr, given.there.log_snr], dtype=torch.float64)
        return runge_kutta(slope, given.y, ends[0], ends[1])


class Clipped(Denoiser):
    """A denoiser whose data are kept within bounds, as pixels are.

    Args:
        denoiser: The denoiser.
        low: Least value of each coordinate, `(dim,)` or `(1,)`.
        high: Largest value.
    """

    def __init__(self, denoiser: Denoiser, low: Tensor, high: Tensor) -> None:
        self.dim, self._denoiser, self._low, self._high = denoiser.dim, denoiser, low, high

    def data(self, y: Tensor, log_snr: Tensor) -> Tensor:
        return self._denoiser.data(y, log_snr).clamp(self._low.to(y), self._high.to(y))


def noise_rows(solver: Solver, grid: Tensor) -> int:
    """How many arrays of noise a run needs: the start, and one a step where the solver is noisy."""
    return len(grid) if solver.noisy else 1


def trajectory(denoiser: Denoiser, solver: Solver, grid: Tensor, noise: Tensor) -> Iterator[Tensor]:
    """The points, `batch x dim`, at each level of the grid, from noise to data.

    Args:
        denoiser: Of dimension dim.
        solver: The rule.
        grid: lambda, `(steps + 1,)`, increasing.
        noise: Standard normal, `noise_rows x batch x dim`.

    Raises:
        ValueError: If the noise has another number of rows, or the grid does not increase.
    """
    if len(noise) != noise_rows(solver, grid):
        raise ValueError(f"noise must have {noise_rows(solver, grid)} rows, got {len(noise)}")
    if not bool((grid.diff() > 0).all()):
        raise ValueError("the grid must increase in log_snr, from noise to data")
    places, y, before = [Place.at(value) for value in grid.tolist()], noise[0], None
    yield y
    for n, (here, there) in enumerate(itertools.pairwise(places)):
        data = denoiser.data(y, torch.full((len(y),), here.log_snr, dtype=torch.float64, device=y.device))
        fresh = noise[n + 1] if solver.noisy else None
        given = Step(denoiser, y, data, here, there, before, n == len(places) - 2, fresh)
        y = solver.step(given)
        # Two steps back is further than any rule looks.
        before = given._replace(before=None)
        yield y


def generate(denoiser: Denoiser, solver: Solver, grid: Tensor, noise: Tensor) -> Tensor:
    """Draws, `batch x dim`: the denoiser's data at the end of `trajectory`, which takes the same arguments."""
    with torch.no_grad():
        *_, y = trajectory(denoiser, solver, grid, noise)
        return denoiser.data(y, grid[-1:].to(y.device).expand(len(y)))


def karras_grid(low: float, high: float, steps: int, power: float = 7.0) -> Tensor:
    """Levels at equal distances of (sigma / alpha)^(1 / power) (Karras et al. 2022), `(steps + 1,)`."""
    ends = torch.tensor([low, high], dtype=torch.float64).mul(-0.5 / power).exp()
    share = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    return -2.0 * power * torch.lerp(ends[0], ends[1], share).log()
