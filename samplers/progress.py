"""How far a run has come: the same facts, and so the same decisions, at every worker."""

import torch

from .counted import CountedTarget
from .goal import CoolDown
from .group import Group
from .run import Pace
from .settings import Budget

__all__ = ["Progress"]


class Progress:
    """Facts of a run as of the last meeting of its workers.

    The clock, the caller's wish to stop and the goal are what the first worker says; evaluations are everybody's. What
    follows from them is arithmetic in double precision, which comes out the same on any machine.

    Args:
        budget: What ends the run.
        cool_down: What ends it earlier.
        counted: This worker's target; after a meeting its count is that of the run.
        pace: This worker's clock.
        group: The workers.

    Attributes:
        seconds: Spent of the budget.
        evaluations: Of the target.
        spent: Share of the budget, in [0, 1].
        fraction: Share of the run, in [0, 1]; 1 is the end.
        stop: Whether the caller asks to stop.
    """

    def __init__(self, budget: Budget, cool_down: CoolDown, counted: CountedTarget, pace: Pace, group: Group) -> None:
        self._budget, self._cool_down, self._counted, self._pace = budget, cool_down, counted, pace
        self._group = group
        self.seconds, self.spent, self.fraction, self.stop = pace.seconds, 0.0, 0.0, False
        self.evaluations = counted.evaluations

    def meet(self, step: int, *, stop: bool = False, reached: bool = False) -> None:
        """Exchange what happened since the last meeting.

        Args:
            step: Optimiser steps done.
            stop: Whether the caller asks to stop; only the first worker's counts, as of the next.
            reached: Whether recent paths meet the goal.
        """
        says = [self._pace.seconds, float(stop), float(reached)] if self._group.rank == 0 else [0.0] * 3
        facts = torch.tensor([self._counted.evaluations - self.evaluations, *says], dtype=torch.float64)
        evaluations, self.seconds, stopping, met = self._group.sum(facts).tolist()
        self.evaluations += int(evaluations)
        self._counted.evaluations, self.stop = self.evaluations, stopping > 0.0
        self.spent = self._budget.fraction(step, self.seconds, self.evaluations)
        if met > 0.0:
            self._cool_down.note(self.spent)
        self.fraction = self._cool_down.fraction(self.spent)
