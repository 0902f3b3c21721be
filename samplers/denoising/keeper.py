"""The best parameters so far, and what to do where there have been no better ones for long."""

import math

import torch
from torch import Tensor

from ..noise import NoiseSource

__all__ = ["BETWEEN", "PAIRS", "Keeper", "judging"]

PAIRS, BETWEEN = 16384, 200
"""Pairs of a row and a level behind a judgement; steps between two of them."""

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
        """For a checkpoint."""
        numbers = [self.least, self.step, self._since, self._falls, self.rate]
        noted = {"keeper.numbers": torch.tensor(numbers, dtype=torch.float64)}
        return noted if self.best is None else noted | {"keeper.best": self.best}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` returned."""
        best = tensors.get("keeper.best")
        self.best = None if best is None else best.clone()
        self.least, *counts, self.rate = tensors["keeper.numbers"].tolist()
        self.step, self._since, self._falls = map(int, counts)
        self.done = self._falls >= _FALLS


def judging(noise: NoiseSource) -> NoiseSource:
    """The noise of every judgement of a run whose steps have `noise`.

    That of one step, so that two judgements differ by the parameters alone, and of another seed: nothing must learn
    from it.
    """
    return noise._replace(seed=noise.seed ^ (1 << 63), step=0)
