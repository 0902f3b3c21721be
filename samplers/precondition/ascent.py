"""Climb to local maxima of the log density from many points at once, by L-BFGS (Nocedal and Wright 2006, ch. 7).

Every row of the batch has its own history, direction and step length; one evaluation serves one trial step of every row
that is still climbing. A row whose trial step does not raise the density enough (Armijo) tries a shorter one in the
next round. A row has arrived when the Newton decrement, the gain that its quadratic model still promises, is small:
that is a statement in nats, whatever the target's scales.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .evaluation import evaluate

__all__ = ["Climbed", "climb"]

_HISTORY = 8
_ARMIJO = 1e-4
# Nats that the quadratic model still promises. Two arrivals at one maximum are then within a tenth of a standard
# deviation of each other along any direction.
_ARRIVED = 1e-3
_SHRINK = 0.25
_LEAST_STEP = 1e-10


class Climbed(NamedTuple):
    """Where the rows ended: points `n x dim` and log densities `(n,)` in float64; -inf where a row never was finite."""

    point: Tensor
    log_density: Tensor
    arrived: Tensor
    """Whether the row stands on a local maximum, `(n,)`; others ran out of rounds."""


def climb(target: Target, start: Tensor, rounds: int, spent: Callable[[], float] = lambda: 0.0) -> Climbed:
    """Climb from points `n x dim`, float64.

    Args:
        target: The density.
        start: The points; those without a finite density and score stay where they are.
        rounds: Trial steps at most.
        spent: Asked before every round; at 1 or more the rows stay where they got to.
    """
    rows = _Rows(target, start)
    for _ in range(rounds):
        active = rows.active()
        if not len(active) or spent() >= 1.0:
            break
        rows.advance(target, active)
    return Climbed(rows.point, rows.log_density, rows.arrived)


class _Rows:
    """State of every row: where it is, its curvature pairs, its direction and trial step."""

    def __init__(self, target: Target, start: Tensor) -> None:
        n, dim = start.shape
        self.point = start.clone()
        self.log_density, self.score = evaluate(target, start)
        self.arrived = torch.zeros(n, dtype=torch.bool)
        self._stuck = ~self.log_density.isfinite()
        self._steps = torch.zeros(_HISTORY, n, dim, dtype=torch.float64)
        self._changes = torch.zeros(_HISTORY, n, dim, dtype=torch.float64)
        # 1 / (step . change), 0 for a pair that is not there: such a pair does nothing in the recursion.
        self._curvature = torch.zeros(_HISTORY, n, dtype=torch.float64)
        self._scale = 1.0 / self.score.norm(dim=1).clamp(min=1e-30)
        self._direction = self.score * self._scale[:, None]
        self._length = torch.ones(n, dtype=torch.float64)

    def active(self) -> Tensor:
        """Indices of the rows that climb on."""
        return (~(self.arrived | self._stuck)).nonzero()[:, 0]

    def advance(self, target: Target, active: Tensor) -> None:
        """One trial step of each active row."""
        step = self._length[active, None] * self._direction[active]
        log_density, score = evaluate(target, self.point[active] + step)
        promised = (step * self.score[active]).sum(1)
        good = log_density >= self.log_density[active] + _ARMIJO * promised
        failed = active[~good]
        self._length[failed] *= _SHRINK
        self._stuck[failed] = self._length[failed] < _LEAST_STEP
        moved = active[good]
        if len(moved):
            self._accept(moved, step[good], log_density[good], score[good])

    def _accept(self, moved: Tensor, step: Tensor, log_density: Tensor, score: Tensor) -> None:
        change = self.score[moved] - score
        product = (step * change).sum(1)
        usable = product > 1e-10 * step.norm(dim=1) * change.norm(dim=1)
        keep = moved[usable]
        for history, latest in ((self._steps, step), (self._changes, change)):
            history[:, keep] = torch.cat([history[1:, keep], latest[None, usable]])
        self._curvature[:, keep] = torch.cat([self._curvature[1:, keep], 1.0 / product[None, usable]])
        self._scale[keep] = product[usable] / change[usable].square().sum(1)
        self.point[moved] += step
        self.log_density[moved], self.score[moved] = log_density, score
        self._direction[moved] = self._quasi_newton(moved)
        # No curvature seen on the way: the step is as long as twice the last one.
        flat = moved[~usable]
        self._direction[flat] = self.score[flat] * (self._scale[flat] * 2.0)[:, None]
        self._scale[flat] *= 2.0
        self._length[moved] = 1.0
        decrement = 0.5 * (self._direction[moved] * score).sum(1)
        self.arrived[moved[usable]] = decrement[usable] < _ARRIVED

    def _quasi_newton(self, rows: Tensor) -> Tensor:
        """The two-loop recursion: an inverse Hessian, from the pairs, times the score."""
        steps, changes, curvature = self._steps[:, rows], self._changes[:, rows], self._curvature[:, rows]
        direction: Tensor = self.score[rows].clone()
        weights: list[Tensor] = []
        for step, change, inverse in zip(steps.flip(0), changes.flip(0), curvature.flip(0), strict=True):
            weight = inverse * (step * direction).sum(1)
            direction = direction - weight[:, None] * change
            weights.append(weight)
        direction = direction * self._scale[rows, None]
        for step, change, inverse, weight in zip(steps, changes, curvature, reversed(weights), strict=True):
            direction = direction + (weight - inverse * (change * direction).sum(1))[:, None] * step
        return direction
