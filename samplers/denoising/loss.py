"""The denoising loss, a weighted squared error of what a model predicts.

    E[ W(lambda) kappa(lambda) p/q |f(x, eps) - f'(y)|^2 ] / 2,    a sum over dimensions.

For given W it is the same number for every prediction f (`prediction`) and for every source q of levels (`sampling`).
With W = 1 / p it is the diffusion part of the negative ELBO in nats.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..noise import NoiseSource
from ..random import keyed_generator
from .denoiser import DenoisingModel
from .exact import GaussianDenoiser
from .sampling import AdaptiveHistogram, Levels, NoiseLevels
from .schedule import Schedule, preserving
from .scores import Regressed, Scores
from .weighting import Weighting, mean_weight

__all__ = ["DenoisingLoss", "LossRecord", "baseline_fractions"]


# Rows that are evaluated together where no gradient is needed.
_ROWS = 1024


class LossRecord(NamedTuple):
    """What a batch gave, besides `.grad` of the parameters."""

    loss: float
    """Mean of the terms."""
    terms: Tensor
    """`(batch,)` float64, constants."""
    levels: Levels

    @classmethod
    def of(cls, terms: Tensor, levels: Levels) -> "LossRecord":
        """The record of these terms, `(batch,)`."""
        constant = terms.detach()
        return cls(float(constant.mean()), constant, levels)


class DenoisingLoss:
    """A loss for models on one schedule.

    Args:
        weighting: W.
        levels: Source of noise levels, with the schedule's density.
        schedule: alpha and sigma, for weights that are quoted in the space of a prediction.
        memory: The proposal inside `levels` where it is adaptive; it learns from every gradient.
    """

    def __init__(
        self, weighting: Weighting, levels: NoiseLevels, schedule: Schedule, memory: AdaptiveHistogram | None = None
    ) -> None:
        self._weighting, self._levels, self._schedule, self._memory = weighting, levels, schedule, memory
        # The optimiser clips the gradient's norm: a constant factor keeps it in reach, whatever the weights.
        self._unit = 1.0 / mean_weight(weighting, schedule, levels.density)

    def terms(
        self, model: DenoisingModel, x: Tensor, eps: Tensor, levels: Levels, regressed: Regressed | None = None
    ) -> Tensor:
        """The loss of each row of data x with noise eps, `batch x dim`: `(batch,)` float64, differentiable.

        Args:
            model: On any schedule.
            x: Data.
            eps: Noise.
            levels: The rows' levels.
            regressed: What to train towards, if not x and eps themselves.
        """
        level = model.schedule.at(levels.log_snr)
        y = preserving(levels.log_snr).like(x).noised(x, eps)
        target = model.prediction.of(*(regressed or Regressed(x, eps)), level.like(x))
        error = (target - model.output(y, levels.log_snr)).double().square().sum(1)
        return 0.5 * self.noise_weight(levels) * model.prediction.kappa(level) * error

    def noise_weight(self, levels: Levels) -> Tensor:
        """W p/q: what multiplies |eps - eps'|^2 / 2, `(batch,)`."""
        multiplier = self._weighting.multiplier(self._schedule.at(levels.log_snr), levels.inverse_density)
        return multiplier * levels.importance

    def gradient(
        self, model: DenoisingModel, data: Tensor, noise: NoiseSource, batch: int, scores: Scores | None = None
    ) -> LossRecord:
        """Add the gradient on `batch` random rows of data, `rows x dim`, to `.grad`, up to a constant factor.

        With the rows' scores it is that of a loss towards the mix; its expectation over draws is the same.
        """
        x, eps, levels, rows = self._draw(model.dim, data, noise, batch)
        regressed = None if scores is None else scores.regressed(rows, x, eps, levels.log_snr)
        terms = self.terms(model, x, eps, levels, regressed)
        (terms.mean() * (self._unit / model.dim)).backward()
        if self._memory is not None:
            self._memory.note(Levels(*(part.cpu() for part in levels)), terms.detach().cpu())
        return LossRecord.of(terms + self._explained(rows, levels, scores), levels)

    def evaluate(
        self, model: DenoisingModel, data: Tensor, noise: NoiseSource, batch: int, scores: Scores | None = None
    ) -> LossRecord:
        """The loss on `batch` random rows of data, `rows x dim`, and nothing else: for data held out.

        With the rows' scores it has the same expectation over draws, and less noise.
        """
        x, eps, levels, rows = self._draw(model.dim, data, noise, batch)
        regressed = Regressed(x, eps) if scores is None else scores.regressed(rows, x, eps, levels.log_snr)
        parts = zip(*(part.split(_ROWS) for part in (x, eps, *regressed, *levels)), strict=True)
        with torch.no_grad():
            # In parts: what a network makes of all rows at once may not fit memory.
            terms = [self.terms(model, x, eps, Levels(*each), Regressed(x_, eps_)) for x, eps, x_, eps_, *each in parts]
        return LossRecord.of(torch.cat(terms) + self._explained(rows, levels, scores), levels)

    def tensors(self) -> dict[str, Tensor]:
        """What the next gradient depends on beside parameters, for a checkpoint."""
        return {} if self._memory is None else self._memory.tensors()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` returned. Raises ValueError for the memory of another source."""
        if self._memory is not None:
            self._memory.restore(tensors)

    def _explained(self, rows: Tensor, levels: Levels, scores: Scores | None) -> Tensor | float:
        """What a loss towards the mix lacks of the plain one, `(batch,)`, the same for every model."""
        if scores is None:
            return 0.0
        return 0.5 * self.noise_weight(levels) * scores.explained(rows, levels.log_snr)

    def _draw(self, dim: int, data: Tensor, noise: NoiseSource, batch: int) -> tuple[Tensor, Tensor, Levels, Tensor]:
        """Random rows, their noise, fresh levels and the rows' numbers."""
        rows = torch.randint(len(data), (batch,), generator=noise.generator("denoising/rows"))
        uniform = torch.from_numpy(keyed_generator("denoising/levels", noise.seed, noise.step).random(batch))
        levels = Levels(*(part.to(noise.device) for part in self._levels.sample(uniform)))
        x = data[rows.to(data.device)].to(noise.device, noise.dtype)
        return x, noise.normal((batch, dim), "denoising/noise"), levels, rows


def baseline_fractions(loss: DenoisingLoss, outcome: LossRecord, baseline: GaussianDenoiser, edges: Tensor) -> Tensor:
    """The loss over that of a Gaussian denoiser in each bin of lambda, `(bins,)`; NaN where none fell, 1 is no gain.

    `edges`, `(bins + 1,)`, increase. The baseline must have the mean and the covariance of the data.
    """
    levels = outcome.levels
    expected = 0.5 * loss.noise_weight(levels) * baseline.expected_error(levels.log_snr)
    cell = torch.bucketize(levels.log_snr, edges.to(levels.log_snr), right=True) - 1
    inside = (cell >= 0) & (cell < len(edges) - 1)
    zero = torch.zeros(len(edges) - 1, dtype=torch.float64, device=cell.device)
    ours, theirs = (zero.index_add(0, cell[inside], part[inside]) for part in (outcome.terms, expected))
    return ours / theirs
