"""Where the local maxima of a log density lie, when nothing is known of its scale.

A first round of climbs starts at N(0, s^2) for a ladder of scales s, because a posterior may be as narrow as 0.01 and
the modes of a mixture may be a hundred apart. Later rounds start around the maxima found so far: in units of the best
one's own width and of the spread of them all, so that modes on the far side of a target that is nowhere near 0 are
seen too. Rounds end when one brings nothing new and every mode was met twice: by Good and Turing, the share of climbs
that would end in an unseen one is about the share that ended in one met once. From far away a climb ends in a maximum
about as often as its valley is wide there, so that a maximum no climb reaches in hundreds has either little mass or a
narrow approach from everywhere.

Two maxima are one mode if the density does not dip on the segment between them.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..components import MOST_COMPONENTS
from ..random import normal_noise
from .ascent import climb
from .curvature import Peak, peak_at
from .evaluation import log_densities
from .found import FULL_DIM

__all__ = ["Landscape", "merge_without_barrier"]

_LADDER = (0.1, 1.0, 10.0, 100.0)
_AROUND = (0.5, 1.0, 3.0, 10.0)
_CLIMBS_A_SCALE, _CLIMBS_IN_MANY_DIMENSIONS = 128, 16
_ROUNDS_A_CLIMB = 100
_MOST_ROUNDS = 8
# Standard deviations: climbs to one maximum arrive well within this, and two maxima are hardly ever that close.
_SAME = 0.5
# Nats below the best evidence by Laplace's estimate: a peak is looked at, and more of its kind are looked for.
_RELEVANT, _HEAVY = 30.0, 15.0
_MOST_PEAKS = 2 * MOST_COMPONENTS
# Numbers in the factors of all peaks.
_MEMORY = 4e7
# Nats; a shallower dip is no barrier to anything.
_DIP = 0.2
_INSIDE = 15
_NEIGHBOURS = 8


class Landscape:
    """The maxima of `target` that climbs have found so far.

    Args:
        target: The density.
        seed: Seed of the starting points.
        spent: Asked before every evaluation; at 1 or more the search ends with what it has.
    """

    def __init__(self, target: Target, seed: int, spent: Callable[[], float]) -> None:
        self._target, self._seed, self._spent = target, seed, spent
        self.peaks: list[Peak] = []
        self._met: list[int] = []
        self._climbs = _CLIMBS_A_SCALE if target.dim <= FULL_DIM else _CLIMBS_IN_MANY_DIMENSIONS
        self._most_peaks = min(_MOST_PEAKS, max(2, int(_MEMORY / target.dim**2)))

    def explore(self) -> None:
        """Rounds of climbs until one finds nothing new and leaves no maximum that was met once only."""
        shape = (len(_LADDER), self._climbs, self._target.dim)
        noise = normal_noise(shape, "precondition/climb", self._seed, 0).double()
        self.climb_from((noise * torch.tensor(_LADDER, dtype=torch.float64)[:, None, None]).flatten(0, 1))
        for index in range(1, _MOST_ROUNDS):
            if not self.peaks or self._spent() >= 1.0:
                return
            if not self.climb_from(self._around(index)) and not self._met_once():
                return

    def climb_from(self, start: Tensor) -> int:
        """Climb from points `n x dim`; returns how many maxima were new and are worth having."""
        climbed = climb(self._target, start, _ROUNDS_A_CLIMB, self._spent)
        usable = climbed.arrived
        if not bool(usable.any()) and not self.peaks:
            # No climb arrived: the best of them still says where the density is high.
            usable = climbed.log_density == climbed.log_density.max()
        usable = usable & climbed.log_density.isfinite()
        order = climbed.log_density[usable].argsort(descending=True)
        pool, heights = climbed.point[usable][order], climbed.log_density[usable][order]
        known = len(self.modes())
        for index in range(len(self.peaks)):
            pool, heights = self._without(pool, heights, index)
        while len(pool) and len(self.peaks) < self._most_peaks and self._spent() < 1.0:
            pool, heights = self._without(pool, heights, self._index_of(peak_at(self._target, pool[0])), first=1)
        return len(self.modes()) - known

    def _index_of(self, peak: Peak) -> int:
        """Its place among the peaks, where it is put if it is new."""
        for index, other in enumerate(self.peaks):
            if float(other.distance(peak.point[None])) < _SAME:
                return index
        self.peaks.append(peak)
        self._met.append(0)
        return len(self.peaks) - 1

    def _without(self, pool: Tensor, heights: Tensor, index: int, first: int = 0) -> tuple[Tensor, Tensor]:
        """The points that do not stand on this peak; those that do are counted, and so are the `first` in any case."""
        far = ~(self.peaks[index].distance(pool) < _SAME)
        far[:first] = False
        self._met[index] += int((~far).sum())
        return pool[far], heights[far]

    def _met_once(self) -> bool:
        """Whether one of several modes, of those that matter, was met by a single climb."""
        modes = self.modes()
        heavy = [mode for mode in modes if mode.log_evidence > modes[0].log_evidence - _HEAVY]
        met = [self._met[next(index for index, peak in enumerate(self.peaks) if peak is mode)] for mode in heavy]
        return len(heavy) > 1 and min(met) == 1

    def _relevant(self, peak: Peak) -> bool:
        best = max((other.log_evidence for other in self.peaks if not other.saddle), default=-math.inf)
        return not peak.saddle and peak.log_evidence > best - _RELEVANT

    def modes(self) -> list[Peak]:
        """The maxima, the largest evidence by Laplace's estimate first, one for each set without barriers between."""
        tops = [peak for peak in self.peaks if self._relevant(peak)] or self.peaks
        tops = sorted(tops, key=lambda peak: peak.log_evidence, reverse=True)
        if not tops:
            return []
        kept = merge_without_barrier(self._target, torch.stack([peak.point for peak in tops]))
        return [tops[index] for index in kept][:MOST_COMPONENTS]

    def _around(self, index: int) -> Tensor:
        modes = self.modes()
        points = torch.stack([mode.point for mode in modes])
        shape = (len(_AROUND), self._climbs, self._target.dim)
        noise = normal_noise(shape, "precondition/climb", self._seed, index).double()
        noise = noise * torch.tensor(_AROUND, dtype=torch.float64)[:, None, None]
        if len(modes) > 1:
            return (points.mean(0) + noise * points.std(0)).flatten(0, 1)
        # Alone: three of its widths count as one spread.
        return (points[0] + 3.0 * noise @ modes[0].tril.T).flatten(0, 1)


def merge_without_barrier(target: Target, points: Tensor) -> list[int]:
    """Indices of points, `n x dim`, best first, that are left when later ones join earlier ones over no barrier."""
    log_density = log_densities(target, points)
    kept: list[int] = []
    for index, point in enumerate(points):
        near = _nearest(points, kept, point)
        if not near or not bool(_connected(target, points[near], log_density[near], point, log_density[index]).any()):
            kept.append(index)
    return kept


def _nearest(points: Tensor, kept: Sequence[int], point: Tensor) -> list[int]:
    if not kept:
        return []
    distance = (points[list(kept)] - point).norm(dim=1)
    return [kept[int(index)] for index in distance.argsort()[:_NEIGHBOURS]]


def _connected(target: Target, ends: Tensor, heights: Tensor, point: Tensor, height: Tensor) -> Tensor:
    """Whether the density stays up on the segments from each end, `n x dim`, to the point, `(n,)`."""
    share = torch.arange(1, _INSIDE + 1, dtype=torch.float64)[:, None, None] / (_INSIDE + 1)
    inside = log_densities(target, (ends + share * (point - ends)).flatten(0, 1)).reshape(_INSIDE, -1)
    return inside.min(0).values > torch.minimum(heights, height) - _DIP
