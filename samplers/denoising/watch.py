"""What a denoising run tells while it goes on: its loss as a fraction of the Gaussian's, in all and by noise level."""

import math
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from .exact import GaussianDenoiser
from .loss import DenoisingLoss, LossRecord
from .report import DenoisingMetrics, LevelBin

__all__ = ["Share", "Watch", "share_of"]

_WINDOW = 64
_BINS = 8
_INTERVAL_SECONDS = 0.5

Share = tuple[Tensor, Tensor, Tensor]
"""Levels, losses there and what the Gaussian is expected to lose there, `(batch,)` each, on the CPU."""


class Watch:
    """Collects losses and reports metrics at most every half second.

    Args:
        loss: The loss whose records come.
        gaussian: With the data's moments.
        ends: Lowest and highest lambda.
        on_metrics: Receives the metrics.
        clock: Seconds, monotonic.

    Attributes:
        validation: The newest fraction on rows held out; NaN before there is one.
    """

    def __init__(
        self,
        loss: DenoisingLoss,
        gaussian: GaussianDenoiser,
        ends: tuple[float, float],
        on_metrics: Callable[[DenoisingMetrics], None],
        clock: Callable[[], float],
    ) -> None:
        self._loss, self._gaussian, self._on_metrics, self._clock = loss, gaussian, on_metrics, clock
        self._edges = torch.linspace(*ends, _BINS + 1, dtype=torch.float64)
        self._recent: deque[Share] = deque(maxlen=_WINDOW)
        self._last_time, self._last_step = clock(), 0
        self.validation = math.nan

    def step(self, record: LossRecord, step: int, seconds: float, fraction: float) -> None:
        """Take note of a training step, and report if it is time."""
        self._recent.append(share_of(self._loss, record, self._gaussian))
        now = self._clock()
        if now - self._last_time < _INTERVAL_SECONDS and fraction < 1.0:
            return
        rate = (step - self._last_step) / max(now - self._last_time, 1e-9)
        self._last_time, self._last_step = now, step
        self.stage("train", step, seconds, fraction, rate)

    def stage(self, name: str, step: int, seconds: float, fraction: float, rate: float = 0.0) -> None:
        """Report that a stage has come to `fraction` of the budget."""
        loss, bins = self._fractions()
        self._on_metrics(DenoisingMetrics(name, step, seconds, fraction, loss, self.validation, rate, bins))

    def _fractions(self) -> tuple[float, tuple[LevelBin, ...]]:
        if not self._recent:
            return math.nan, ()
        levels, ours, theirs = (torch.cat(parts) for parts in zip(*self._recent, strict=True))
        cell = (torch.bucketize(levels, self._edges, right=True) - 1).clamp(0, _BINS - 1)
        zero = torch.zeros(_BINS, dtype=torch.float64)
        each = zero.index_add(0, cell, ours) / zero.index_add(0, cell, theirs)
        ends = zip(self._edges[:-1].tolist(), self._edges[1:].tolist(), each.tolist(), strict=True)
        return float(ours.sum() / theirs.sum()), tuple(LevelBin(*parts) for parts in ends)


def share_of(loss: DenoisingLoss, record: LossRecord, gaussian: GaussianDenoiser) -> Share:
    """What a record says beside the Gaussian."""
    log_snr = record.levels.log_snr
    expected = 0.5 * loss.noise_weight(record.levels) * gaussian.expected_error(log_snr)
    return log_snr.cpu(), record.terms.cpu(), expected.cpu()
