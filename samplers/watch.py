"""What a training run tells while it goes on: rough estimates from the paths of recent steps, at a bounded rate."""

import math
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from .estimate import estimate
from .goal import Rough
from .objective import Gradient
from .report import Metrics

__all__ = ["Watch"]

_WINDOW = 16
_INTERVAL_SECONDS = 0.5


class Watch:
    """Collects gradients and reports metrics at most every half second.

    Args:
        on_metrics: Receives the metrics.
        clock: Seconds, monotonic.

    Attributes:
        non_finite: Paths so far that were not finite.
        recent: Estimates from recent steps, renewed whenever all of those steps are new.
    """

    def __init__(self, on_metrics: Callable[[Metrics], None], clock: Callable[[], float]) -> None:
        self._on_metrics, self._clock = on_metrics, clock
        self._recent: deque[Tensor] = deque(maxlen=_WINDOW)
        self._last_time, self._last_step = clock(), 0
        self.non_finite, self._warming = 0, False
        self.recent = _rough(self._recent)

    def stage(self, name: str, step: int, seconds: float, fraction: float, evaluations: int) -> None:
        """Report that a stage has come to `fraction` of the budget, with the newest estimates."""
        rough = _rough(self._recent)
        self._on_metrics(Metrics(name, step, seconds, fraction, *rough, 0.0, evaluations, self.non_finite))

    def search(self, seconds: float, fraction: float, evaluations: int) -> None:
        """Report that the preconditioner is at work, if it is time."""
        now = self._clock()
        if now - self._last_time >= _INTERVAL_SECONDS:
            self._last_time = now
            self.stage("precondition", 0, seconds, fraction, evaluations)

    def note(self, gradient: Gradient, step: int) -> None:
        """Take note of a training step, the `step`-th."""
        if gradient.warming is not self._warming:
            # A warm start began or is over: what its few paths said is no estimate of what comes after.
            self._warming = gradient.warming
            self._recent.clear()
            self.recent = _rough(self._recent)
        self._recent.append(gradient.log_weight.cpu())
        self.non_finite += int(gradient.log_weight.isinf().sum())
        if step % _WINDOW == 0:
            self.recent = _rough(self._recent)

    def step(self, step: int, seconds: float, fraction: float, evaluations: int) -> None:
        """Report the step just noted, if it is time."""
        now = self._clock()
        if now - self._last_time < _INTERVAL_SECONDS and fraction < 1.0:
            return
        rate = (step - self._last_step) / max(now - self._last_time, 1e-9)
        self._last_time, self._last_step = now, step
        rough = _rough(self._recent)
        stage = "warm-start" if self._warming else "train"
        self._on_metrics(Metrics(stage, step, seconds, fraction, *rough, rate, evaluations, self.non_finite))

    def tensors(self) -> dict[str, Tensor]:
        """The paths of recent steps, for a checkpoint: a goal must be met at the same step after a resume."""
        recent = {"watch.recent": torch.stack(list(self._recent))} if self._recent else {}
        return {"watch.warming": torch.tensor(self._warming), **recent}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` returned."""
        self._recent.extend(tensors.get("watch.recent", torch.zeros(0, 0)))
        self._warming = bool(tensors.get("watch.warming", False))


def _rough(recent: deque[Tensor]) -> Rough:
    """Estimates from the pooled recent paths; NaN where there are too few finite ones."""
    pooled = torch.cat(list(recent)) if recent else torch.zeros(0)
    if int(pooled.isfinite().sum()) < 2:
        return Rough(math.nan, math.nan, math.nan, math.nan)
    found = estimate(pooled)
    return Rough(-found.elbo, found.elbo, found.log_z, found.ess_fraction)
