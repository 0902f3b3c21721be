"""The comparative study of denoising losses (Kumar, Vaeth and Gregorova 2025): its sets in two dimensions, its figures.

The sets are drawn afresh from the descriptions in the authors' repository, dibyanshu100/Master_thesis_code, and
standardised by their exact moments; their densities are known, which the study did not use. Its figures are those of
the tables in that repository, means of three runs. Its "NELBO" is a diffusion loss with denominators that were clamped
differently for each prediction, a mean over dimensions without its end terms: no nats, and not comparable between
predictions. Its draws were made by another sampler for each prediction.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import norm

from gephyra.samplers.denoising.settings import PredictionName, WeightingName
from gephyra.samplers.random import keyed_generator

__all__ = ["PLANAR", "PUBLISHED", "Cluster", "PlanarSet", "Published", "Ring", "SwissRoll", "Waves", "sample"]

_Array = NDArray[np.float64]
# Midpoints along the roll: a tenth of its noise apart at most.
_ALONG = 4000


class PlanarSet(ABC):
    """A law in the plane, in the units of the study before it standardises.

    Attributes:
        mean: `(2,)`.
        sd: Of each coordinate, `(2,)`.
    """

    mean: _Array
    sd: _Array

    @abstractmethod
    def draw(self, count: int, generator: np.random.Generator) -> _Array:
        """Independent draws, `count x 2`."""

    @abstractmethod
    def log_density(self, x: _Array) -> _Array:
        """At points of the law's support, `count x 2`: `(count,)`."""

    def standardised(self, x: _Array) -> _Array:
        """Points, `count x 2`, in units of the standard deviations, from the mean."""
        return (x - self.mean) / self.sd

    def standard_log_density(self, x: _Array) -> _Array:
        """That of standardised points, `count x 2`: `(count,)`."""
        return self.log_density(self.mean + self.sd * x) + float(np.log(self.sd).sum())


class Cluster(PlanarSet):
    """Four Gaussians of standard deviation 1 at (+-5, +-5)."""

    mean, sd = np.zeros(2), np.full(2, math.sqrt(26.0))

    def draw(self, count: int, generator: np.random.Generator) -> _Array:
        centre = 10.0 * generator.integers(0, 2, (count, 2)) - 5.0
        return centre + generator.standard_normal((count, 2))

    def log_density(self, x: _Array) -> _Array:
        # A product: each coordinate has two modes.
        each = np.logaddexp(norm.logpdf(x, -5.0), norm.logpdf(x, 5.0)) - math.log(2.0)
        total: _Array = each.sum(1)
        return total


class Ring(PlanarSet):
    """Two rings that cross, of radius 4, round (0, 0) and (5, 0); the radius has standard deviation 0.2."""

    mean, sd = np.array([2.5, 0.0]), np.sqrt([0.5 * 16.04 + 6.25, 0.5 * 16.04])

    def draw(self, count: int, generator: np.random.Generator) -> _Array:
        angle, radius = generator.uniform(0.0, 2.0 * math.pi, count), 4.0 + 0.2 * generator.standard_normal(count)
        centre = 5.0 * generator.integers(0, 2, count)
        return np.stack([centre + radius * np.cos(angle), radius * np.sin(angle)], 1)

    def log_density(self, x: _Array) -> _Array:
        radius = np.stack([np.hypot(x[:, 0] - centre, x[:, 1]) for centre in (0.0, 5.0)])
        each = norm.logpdf(radius, 4.0, 0.2) - np.log(2.0 * math.pi * radius)
        total: _Array = logsumexp(each, 0) - math.log(2.0)
        return total


class SwissRoll(PlanarSet):
    """t (cos t, sin t), t uniform in (1.5 pi, 4.5 pi), with noise of standard deviation 0.5."""

    def __init__(self) -> None:
        t = 1.5 * math.pi * (1.0 + 2.0 * (np.arange(_ALONG) + 0.5) / _ALONG)
        self._curve = self._at(t)
        self.mean, self.sd = self._curve.mean(0), np.sqrt(self._curve.var(0) + 0.25)

    def draw(self, count: int, generator: np.random.Generator) -> _Array:
        t = 1.5 * math.pi * (1.0 + 2.0 * generator.random(count))
        return self._at(t) + 0.5 * generator.standard_normal((count, 2))

    def log_density(self, x: _Array) -> _Array:
        squared = cdist(x, self._curve, "sqeuclidean") / 0.25
        total: _Array = logsumexp(-0.5 * squared, 1) - math.log(_ALONG * 2.0 * math.pi * 0.25)
        return total

    def _at(self, t: _Array) -> _Array:
        point: _Array = t[:, None] * np.stack([np.cos(t), np.sin(t)], 1)
        return point


class Waves(PlanarSet):
    """Two waves of three periods over (0, 1), amplitude 0.3, 0.3 apart, with noise of standard deviation 0.03 in y."""

    mean, sd = np.array([0.5, 0.45]), np.sqrt([1.0 / 12.0, 0.5 * 0.09 + 0.0225 + 0.0009])

    def draw(self, count: int, generator: np.random.Generator) -> _Array:
        x, base = generator.random(count), 0.3 + 0.3 * generator.integers(0, 2, count)
        return np.stack([x, base + self._wave(x) + 0.03 * generator.standard_normal(count)], 1)

    def log_density(self, x: _Array) -> _Array:
        height = x[:, 1] - self._wave(x[:, 0])
        total: _Array = np.logaddexp(norm.logpdf(height, 0.3, 0.03), norm.logpdf(height, 0.6, 0.03)) - math.log(2.0)
        return total

    def _wave(self, x: _Array) -> _Array:
        wave: _Array = 0.3 * np.sin(6.0 * math.pi * x)
        return wave


PLANAR: Mapping[str, PlanarSet] = MappingProxyType(
    {"cluster": Cluster(), "ring": Ring(), "swiss": SwissRoll(), "waves": Waves()}
)
"""The study's sets by name."""


def sample(name: str, part: str, count: int, seed: int) -> _Array:
    """Standardised draws of a set, `count x 2`; other parts are independent."""
    planar = PLANAR[name]
    return planar.standardised(planar.draw(count, keyed_generator(f"benchmarks/planar/{name}/{part}", seed)))


class Published(NamedTuple):
    """What the study has for a cell."""

    loss: float
    """Its loss on test data, in its own units."""
    mean: float
    """Norm of the difference of means."""
    covariance: float
    """Frobenius norm of the difference of covariances."""


_TARGETS = (PredictionName.DATA, PredictionName.NOISE, PredictionName.VELOCITY, PredictionName.SCORE)
# By set: rows x, eps, v, s; columns NELBO, mean, covariance, then the same of the plain ("weighted") loss.
_FIGURES: dict[str, tuple[tuple[float, ...], ...]] = {
    "cluster": (
        (0.6777, 0.1754, 0.5746, 0.4754, 0.4300, 0.2715),
        (2.3636, 0.0364, 0.0706, 0.3522, 0.0634, 0.1430),
        (2.5396, 0.0307, 0.0409, 0.8264, 0.0389, 0.0363),
        (0.7657, 0.2279, 0.1498, 2.6934, 0.2688, 0.1633),
    ),
    "ring": (
        (0.8785, 0.2744, 0.3807, 0.4932, 0.2807, 0.3974),
        (2.5700, 0.0914, 0.1107, 0.4266, 0.0983, 0.0366),
        (2.5452, 0.0459, 0.0718, 0.9227, 0.0453, 0.0088),
        (0.9577, 0.2254, 0.1563, 3.0981, 0.2220, 0.1637),
    ),
    "swiss": (
        (0.8640, 0.1133, 0.2645, 0.4934, 0.5256, 0.6875),
        (2.5324, 0.0689, 0.0941, 0.4261, 0.0857, 0.0824),
        (2.4861, 0.0418, 0.0598, 0.9171, 0.0427, 0.0269),
        (0.9493, 0.1266, 0.1972, 3.0274, 0.0893, 0.1227),
    ),
    "waves": (
        (0.9104, 0.1593, 0.5559, 0.4939, 0.1869, 0.6911),
        (2.6805, 0.0405, 0.0757, 0.4500, 0.0748, 0.0778),
        (2.6873, 0.0447, 0.0738, 0.9411, 0.0131, 0.0271),
        (1.0210, 0.0353, 0.1369, 3.4165, 0.0178, 0.1676),
    ),
}  # fmt: skip

PUBLISHED: Mapping[tuple[str, PredictionName, WeightingName], Published] = MappingProxyType(
    {
        (name, target, weighting): Published(*figures[start : start + 3])
        for name, rows in _FIGURES.items()
        for target, figures in zip(_TARGETS, rows, strict=True)
        for weighting, start in ((WeightingName.ELBO, 0), (WeightingName.SIMPLE, 3))
    }
)
"""By set, prediction and weighting; of the rescaled loss there are none."""
