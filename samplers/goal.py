"""Ending a run before its budget: the goal is watched, and once it is met the learning rate cools down quickly."""

from typing import NamedTuple

from .settings import Goal

__all__ = ["CoolDown", "Rough"]

# Of the budget spent when the goal was met: the parameters still move with the noise of a high learning rate.
_EXTRA = 0.15


class Rough(NamedTuple):
    """Estimates from the paths of recent steps; NaN where there are too few."""

    loss: float
    elbo: float
    log_z: float
    ess_fraction: float


class CoolDown:
    """Turns the share of the budget into the share of the run.

    Args:
        goal: When the run may end.
    """

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._reached: float | None = None

    def reached(self, recent: Rough) -> bool:
        """Whether estimates meet the goal."""
        return self._goal.reached(recent.ess_fraction, recent.log_z - recent.elbo)

    def note(self, spent: float) -> None:
        """Take note that the goal was met at a share of the budget; the first time counts."""
        if self._reached is None:
            self._reached = spent

    def fraction(self, spent: float) -> float:
        """Share of the run that is done, in [0, 1]; 1 is the end."""
        reached = self._reached
        if reached is None or reached <= 0.0:
            return spent
        return max(spent, min(1.0, reached + (1.0 - reached) * (spent - reached) / (_EXTRA * reached)))

    def state(self) -> float | None:
        """For a checkpoint."""
        return self._reached

    def restore(self, state: float | None) -> None:
        """Go on from what `state` returned."""
        self._reached = state
