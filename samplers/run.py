"""What every training run has: what it tells its caller and asks, how it ends early, and its clock."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Hooks", "Pace", "StopTraining", "TrainingFailed"]

_CHECKPOINT_SECONDS = 5.0

M = TypeVar("M")


class StopTraining(Exception):
    """Training was asked to stop and did, at a checkpoint where a folder was given."""


class TrainingFailed(Exception):
    """Training cannot go on. `reason` is a word for programs, the message a sentence for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Hooks(NamedTuple, Generic[M]):
    """What the caller of a run passed to be told and asked."""

    on_metrics: Callable[[M], None]
    on_checkpoint: Callable[[int, float], None]
    should_stop: Callable[[], bool]
    clock: Callable[[], float]


class Pace:
    """Seconds of a budget, over all attempts at a run, and when the next checkpoint is due.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Seconds spent by earlier attempts, and the clock reading they are counted from.
        self._spent, self._origin = 0.0, clock()
        self._saved = self._origin

    @property
    def seconds(self) -> float:
        """Spent of the budget."""
        return self._spent + self._clock() - self._origin

    def go_on(self, spent: float) -> None:
        """Count on from the seconds of earlier attempts."""
        self._spent, self._origin = spent, self._clock()

    def due(self) -> bool:
        """Whether a checkpoint should be written now; if so, the wait begins again."""
        if self._clock() - self._saved <= _CHECKPOINT_SECONDS:
            return False
        self._saved = self._clock()
        return True
