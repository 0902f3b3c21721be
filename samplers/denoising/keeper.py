"""The best parameters so far, and what to do where there have been no better ones for long."""

import math
from typing import Any

from torch import Tensor

__all__ = ["Keeper"]

# Steps without a better loss, beside a share of all steps up to the best, after which the rate falls.
_PATIENCE, _PATIENCE_SHARE = 500, 0.25
_FALL, _FALLS = 0.3, 4


class Keeper:
    """Notes validation losses.

    Attributes:
        best: The parameters with the least loss; None before there is one.
        least: Their loss; NaN before there is one.
        step: At which they were noted.
        rate: Multiple of the learning rate from now on.
        back: Whether the last note asks to go back to the best parameters.
        done: Whether more steps will not help.
    """

    def __init__(self) -> None:
        self.best: Tensor | None = None
        self.least, self.step, self.rate, self.back, self.done = math.nan, 0, 1.0, False, False
        self._falls, self._since = 0, 0

    def note(self, loss: float, step: int, flat: Tensor) -> None:
        """Take note of the loss of parameters `flat` after `step` steps; one that is not finite is no better."""
        self.back = False
        if math.isfinite(loss) and not loss >= self.least:
            self.best, self.least, self.step, self._since = flat.clone(), loss, step, step
        elif self.best is not None and step - self._since > _PATIENCE + _PATIENCE_SHARE * self.step:
            self._falls, self._since, self.back = self._falls + 1, step, True
            self.rate, self.done = self.rate * _FALL, self._falls >= _FALLS

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint, with `record`."""
        return {} if self.best is None else {"keeper.best": self.best}

    def record(self) -> dict[str, Any]:
        """Plain values for a checkpoint; NaN is None."""
        least = None if math.isnan(self.least) else self.least
        return {"least": least, "step": self.step, "since": self._since, "falls": self._falls, "rate": self.rate}

    def restore(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Go on from what `tensors` and `record` returned."""
        best = tensors.get("keeper.best")
        self.best = None if best is None else best.clone()
        self.least = math.nan if record["least"] is None else record["least"]
        self.step, self._since, self._falls, self.rate = (record[key] for key in ("step", "since", "falls", "rate"))
        self.done = self._falls >= _FALLS
