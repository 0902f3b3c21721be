"""How far a set of samples is from the target, each metric with its floor: what it gives for two exact sets.

Samples x and y, exact draws of the target, are float64 arrays `n x dim` of equal weight. A metric's scale (epsilon,
bandwidth, standard deviations) comes from a third, exact set, so that the samples under test cannot change the
ruler. Numbers are comparable only at equal sizes: quote n and the floor beside each. A value below the floor is no
sign of a better sampler: most metrics here reward samples that are too narrow.

* Sinkhorn divergence: OT_e(x, y) - (OT_e(x, x) + OT_e(y, y)) / 2, cost |x_i - y_j|^2, with the entropy in OT_e =
  min_P <P, C> + e KL(P | uniform). Not the regularised cost <P, C> of x against y alone, which the sampling
  literature calls Sinkhorn and which does not vanish for equal sets. Not for the funnel: its iteration does not
  converge there, and at infinite variance (Student, 2 degrees of freedom) the value is the luck of a few draws; take
  the MMD. Feydy et al. 2019.
* MMD^2 with the kernel exp(-|x - y|^2 / (2 h^2)), the U-statistic: unbiased, hence of either sign. Gretton et al. 2012.
* Entropic mode coverage: entropy of the modes' shares of x over log(modes); 1 for equal shares, 0 for one mode.
  Only for targets with equal masses. Blessing et al. 2024.
* Total variation of the modes' masses, sum_j |share_j - mass_j| / 2.
* Errors of means and standard deviations, root mean square over coordinates, in units of the target's sd. Only for
  targets with finite variance.
* Distances of means, Euclidean, and of covariances, Frobenius, in the units of the samples.
* Sliced Wasserstein distance of order one: the mean over fixed random directions. Bonneel et al. 2015.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import ot
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist, pdist
from scipy.special import entr

from gephyra.samplers.random import torch_generator
from gephyra.targets.base import Target

__all__ = [
    "CovarianceDistance",
    "Floor",
    "MaximumMeanDiscrepancy",
    "MeanDistance",
    "MeanError",
    "Metric",
    "ModeCoverage",
    "ModeVariation",
    "NotConverged",
    "Sampler",
    "SinkhornDivergence",
    "SlicedWasserstein",
    "SpreadError",
    "exact_sampler",
    "floor",
    "nearest",
    "signs",
]

_Array = NDArray[np.float64]
Assign = Callable[[_Array], NDArray[np.int64]]
"""From points, `n x dim`, to the index of each point's mode, (n,)."""
Sampler = Callable[[int, int], _Array]
"""From a size n and a counter to n exact draws, `n x dim`; other counters give independent draws."""


class NotConverged(ArithmeticError):
    """An iteration ended before it met its tolerance."""


class Metric(ABC):
    """A number that is small for samples that follow the target (coverage: near 1)."""

    @abstractmethod
    def __call__(self, x: _Array, y: _Array) -> float:
        """The metric of samples x against exact draws y, each `n x dim`."""


@dataclass(frozen=True, slots=True)
class SinkhornDivergence(Metric):
    """Sinkhorn divergence; time and memory grow with n^2, and with 1 / epsilon."""

    epsilon: float
    """Regularisation, in units of the cost."""
    tolerance: float = 1e-3
    """Largest error of a marginal of the plan, Euclidean norm, as a fraction of the marginal's own norm."""
    iterations: int = 2000

    @classmethod
    def relative(cls, reference: _Array, fraction: float = 0.1) -> "SinkhornDivergence":
        """Epsilon as a fraction of the median cost between two draws of an exact set, `n x dim`."""
        return cls(fraction * float(np.median(pdist(reference, "sqeuclidean"))))

    def __call__(self, x: _Array, y: _Array) -> float:
        """The divergence, at least 0 up to the tolerance. Raises NotConverged: heavy tails, or a small epsilon."""
        return self._transport(x, y) - 0.5 * (self._transport(x, x) + self._transport(y, y))

    def _transport(self, x: _Array, y: _Array) -> float:
        """OT_e by its dual: with P_ij = a_i b_j exp((f_i + g_j - C_ij) / e), it is the sum of a f and b g."""
        a, b = (torch.full((len(points),), 1 / len(points), dtype=torch.float64) for points in (x, y))
        cost = torch.from_numpy(cdist(x, y, "sqeuclidean"))
        stop = self.tolerance * float(b.norm())
        _, log = ot.bregman.sinkhorn_log(
            a, b, cost, self.epsilon, numItermax=self.iterations, stopThr=stop, log=True, warn=False
        )
        error = float(log["err"][-1])
        if not error < stop:
            raise NotConverged(
                f"Sinkhorn's iteration is off by {error:.1e} after {self.iterations} steps, wanted {stop:.1e}: "
                f"take a larger epsilon than {self.epsilon:g}"
            )
        # The plan of the library is exp(log_u + log_v - C / e): the weights a and b are in u and v.
        potentials = (log["log_u"] - a.log()) @ a + (log["log_v"] - b.log()) @ b
        return self.epsilon * float(potentials)


@dataclass(frozen=True, slots=True)
class MaximumMeanDiscrepancy(Metric):
    """Unbiased estimate of MMD^2 with a Gaussian kernel; mean 0 for equal laws."""

    bandwidth: float
    """Standard deviation of the kernel, h."""

    @classmethod
    def median(cls, reference: _Array) -> "MaximumMeanDiscrepancy":
        """The bandwidth is the median distance between two draws of an exact set, `n x dim`."""
        return cls(float(np.median(pdist(reference))))

    def __call__(self, x: _Array, y: _Array) -> float:
        within = float(self._kernel(pdist(x, "sqeuclidean")).mean() + self._kernel(pdist(y, "sqeuclidean")).mean())
        return within - 2 * float(self._kernel(cdist(x, y, "sqeuclidean")).mean())

    def _kernel(self, squares: _Array) -> _Array:
        kernel: _Array = np.exp(-squares / (2 * self.bandwidth**2))
        return kernel


@dataclass(frozen=True, slots=True)
class ModeCoverage(Metric):
    """Entropic mode coverage of x; y is not used. Biased low by about (modes - 1) / (2 n log(modes))."""

    assign: Assign
    modes: int
    """Number of modes, at least 2."""

    def __call__(self, x: _Array, y: _Array) -> float:
        return float(entr(_shares(self.assign(x), self.modes)).sum()) / math.log(self.modes)


@dataclass(frozen=True, slots=True)
class ModeVariation(Metric):
    """Total variation between the modes' shares of x and their true masses; y is not used."""

    assign: Assign
    masses: _Array
    """True masses, (modes,), of sum 1."""

    def __call__(self, x: _Array, y: _Array) -> float:
        return 0.5 * float(np.abs(_shares(self.assign(x), len(self.masses)) - self.masses).sum())


@dataclass(frozen=True, slots=True)
class MeanError(Metric):
    """Root mean square over coordinates of (mean of x - mean of y) / sd."""

    sd: _Array
    """The target's standard deviations, (dim,): exact, or of a large exact set."""

    def __call__(self, x: _Array, y: _Array) -> float:
        return _rms((x.mean(0) - y.mean(0)) / self.sd)


@dataclass(frozen=True, slots=True)
class SpreadError(Metric):
    """Root mean square over coordinates of (sd of x - sd of y) / sd."""

    sd: _Array
    """The target's standard deviations, (dim,): exact, or of a large exact set."""

    def __call__(self, x: _Array, y: _Array) -> float:
        return _rms((x.std(0, ddof=1) - y.std(0, ddof=1)) / self.sd)


class MeanDistance(Metric):
    """|mean of x - mean of y|."""

    def __call__(self, x: _Array, y: _Array) -> float:
        return float(np.linalg.norm(x.mean(0) - y.mean(0)))


class CovarianceDistance(Metric):
    """|covariance of x - covariance of y|, Frobenius norm."""

    def __call__(self, x: _Array, y: _Array) -> float:
        return float(np.linalg.norm(np.cov(x, rowvar=False) - np.cov(y, rowvar=False)))


@dataclass(frozen=True, slots=True)
class SlicedWasserstein(Metric):
    """Sliced Wasserstein distance of order one."""

    directions: int = 64

    def __call__(self, x: _Array, y: _Array) -> float:
        return float(ot.sliced_wasserstein_distance(x, y, n_projections=self.directions, p=1, seed=0))


@dataclass(frozen=True, slots=True)
class Floor:
    """What a metric gives between two independent exact sets of n draws each."""

    mean: float
    sd: float
    n: int
    repeats: int


def floor(metric: Metric, sampler: Sampler, n: int, repeats: int) -> Floor:
    """Mean and standard deviation of the metric over `repeats` pairs of exact sets; counters 0 to 2 repeats - 1.

    Raises:
        ValueError: For fewer than 2 repeats, which leave no standard deviation.
    """
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2, got {repeats}")
    values = [metric(sampler(n, 2 * i), sampler(n, 2 * i + 1)) for i in range(repeats)]
    return Floor(float(np.mean(values)), float(np.std(values, ddof=1)), n, repeats)


def exact_sampler(target: Target, seed: int, stream: str = "exact") -> Sampler:
    """Exact draws of a target, keyed by (stream, seed, counter).

    Raises:
        ValueError: If the target has no exact sampler.
    """
    if target.sample(0, torch_generator(stream, seed)) is None:
        raise ValueError(f"{type(target).__name__} has no exact sampler")

    def draw(count: int, counter: int) -> _Array:
        draws = target.sample(count, torch_generator(stream, seed, counter))
        assert draws is not None
        return draws.numpy()

    return draw


def nearest(centres: ArrayLike) -> Assign:
    """The mode of a point is its nearest centre, centres `modes x dim`: the likeliest component of equal ones."""
    table = np.asarray(centres, dtype=np.float64)
    return lambda points: cdist(points, table, "sqeuclidean").argmin(1)


def signs(wells: int) -> Assign:
    """The mode of a point is the signs of its first `wells` coordinates, read as a binary number."""
    return lambda points: (points[:, :wells] > 0) @ (1 << np.arange(wells))


def _shares(assigned: NDArray[np.int64], modes: int) -> _Array:
    return np.bincount(assigned, minlength=modes) / len(assigned)


def _rms(values: _Array) -> float:
    return float(np.sqrt(np.square(values).mean()))
