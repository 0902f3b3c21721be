"""Train a model of data from start to report.

The stopping point is chosen on rows held out: the average of the parameters is kept where the loss on them, at levels
and with noise that never change, is least. Where it has not been less for long, the run goes back there and on at a
smaller rate, and ends when that does not help either.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..checkpoint import Checkpoint, latest_checkpoint, write_checkpoint
from ..noise import NoiseSource
from ..random import torch_generator
from ..run import Hooks, Pace, StopTraining, TrainingFailed
from ..stepper import Stepper, cosine, join_parts, part_of
from .build import build_loss, build_model
from .denoiser import DenoisingModel
from .frame import LOWEST, Frame, frame_of
from .keeper import BETWEEN, PAIRS, Keeper, judging
from .loss import LossRecord
from .report import DenoisingMetrics, DenoisingReport
from .sampler import DenoisingSampler, bound, gaussian_likelihood, placed, summary
from .scores import Scores, evaluate_scores, model_scores
from .settings import DenoisingSettings, LevelsName
from .watch import Watch, share_of

__all__ = ["train_denoiser"]

_LEAST_ROWS = 2
# Up to this dimension the learning rate is as it is given, beyond it falls like a root: a step changes all coordinates.
_PLAIN_DIM = 2
# For so many rows the weight decay is as it is given; it stands for a prior, which counts less beside more rows.
_PLAIN_ROWS = 1000


class _Rows(NamedTuple):
    """The data, in data units."""

    training: Tensor
    validation: Tensor


class _Known(NamedTuple):
    """What is known of the density of the data, beside the data."""

    training: Scores
    validation: Scores
    evaluations: int
    """Points at which a target was evaluated."""
    caution: str | None


def train_denoiser(
    data: Tensor,
    names: Sequence[str],
    settings: DenoisingSettings,
    *,
    target: Target | None = None,
    scores: Tensor | None = None,
    on_metrics: Callable[[DenoisingMetrics], None] = lambda metrics: None,
    on_checkpoint: Callable[[int, float], None] = lambda step, seconds: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_folder: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> DenoisingSampler:
    """Train a model and measure it once.

    Args:
        data: `rows x dim`.
        names: Of the dim columns.
        settings: What to train, budget and the rest.
        target: The density that the rows are draws of, columns in its order; it is evaluated once at each row, before
            the clock of the budget starts. Its score leaves the loss with the same expectation and less noise.
        scores: Such scores, `rows x dim` in data units, where they are known already; instead of the target.
        on_metrics: Told of progress about twice a second.
        on_checkpoint: Told the step of each checkpoint, once it is on disk, and the seconds that writing took.
        should_stop: Asked before every step.
        checkpoint_folder: Existing folder for checkpoints; the newest one in it is resumed.
        clock: Seconds, monotonic.

    Raises:
        StopTraining: `should_stop` said so.
        TrainingFailed: The settings do not suit the data, or a score is not finite; or there is no such device.
    """
    hooks = Hooks(on_metrics, on_checkpoint, should_stop, clock)
    try:
        chosen, held = _split(data, settings)
        rows = _Rows(data[chosen], data[held])
        frame = frame_of(rows.training, names, settings, rows.validation)
        model = placed(build_model(settings, frame), settings)
        known = _known(data, chosen, held, frame, target, scores, should_stop)
    except ValueError as error:
        raise TrainingFailed("UNSUITABLE_DATA", str(error)) from error
    run = _Run(rows, known, frame, model, settings, hooks, checkpoint_folder)
    stored = None if checkpoint_folder is None else latest_checkpoint(checkpoint_folder)
    if stored is not None:
        run.restore(stored)
    run.optimise()
    return run.finish(tuple(names))


class _Run:
    """One training run."""

    def __init__(
        self,
        rows: _Rows,
        known: _Known | None,
        frame: Frame,
        model: DenoisingModel,
        settings: DenoisingSettings,
        hooks: Hooks[DenoisingMetrics],
        folder: Path | None,
    ) -> None:
        self._rows, self._known, self._frame, self._model, self._settings = rows, known, frame, model, settings
        self._hooks, self._folder, self._pace = hooks, folder, Pace(hooks.clock)
        self._loss = build_loss(settings, frame, model, settings.levels)
        # Levels of one law throughout, so that two validation losses differ by the parameters alone.
        self._judge = build_loss(settings, frame, model, LevelsName.UNIFORM_LOG_SNR)
        rate = settings.learning_rate * min(1.0, math.sqrt(_PLAIN_DIM / model.dim))
        decay = settings.weight_decay * _PLAIN_ROWS / len(rows.training)
        self._stepper = Stepper({"model": model}, rate, settings.ema, decay=decay)
        self._keeper = Keeper()
        ends = (LOWEST, frame.high)
        self._watch = Watch(self._loss, frame.gaussian, ends, hooks.on_metrics, hooks.clock)
        like = self._stepper.like
        self._noise = NoiseSource(settings.seed, 0, like.device, like.dtype)
        self._training, self._validation = (frame.transform.to_model(part.double()).to(like) for part in rows)

    def restore(self, stored: Checkpoint) -> None:
        """Go on where a checkpoint was written."""
        self._model.load_state_dict(part_of(stored.tensors, "model"))
        self._stepper.restore(stored.tensors, stored.step)
        self._loss.restore(part_of(stored.tensors, "memory"))
        self._keeper.restore(stored.tensors)
        self._pace.go_on(stored.record["seconds"])

    def optimise(self) -> None:
        """Steps until the budget is spent, or more of them do not help."""
        while (fraction := self._fraction()) < 1.0 and not self._keeper.done:
            if self._hooks.should_stop():
                self._checkpoint()
                raise StopTraining
            record = self._stepper.advance(self._backward, cosine(fraction) * self._keeper.rate)
            self._watch.step(record, self._stepper.step, self._pace.seconds, self._fraction())
            if self._stepper.step % BETWEEN == 0:
                self._validate()
            if self._pace.due():
                self._checkpoint()
        self._checkpoint()

    def finish(self, names: tuple[str, ...]) -> DenoisingSampler:
        """The model with its report. The budget's clock has stopped."""
        seconds, step = self._pace.seconds, self._stepper.step
        self._watch.stage("evaluate", step, seconds, 1.0)
        self._validate()
        self._keep()
        self._model.requires_grad_(False)
        held, frame = self._rows.validation, self._frame
        validated = gaussian = None
        if len(held) >= _LEAST_ROWS:
            validated = summary(bound(self._model, frame, held, self._settings.seed))
            gaussian = None if frame.levels is not None else summary(gaussian_likelihood(frame, held))
        report = DenoisingReport(
            rows=len(self._rows.training),
            dim=self._model.dim,
            discrete=frame.levels is not None,
            steps=step,
            best_step=self._keeper.step if self._keeper.best is not None else step,
            loss=self._keeper.least,
            validation=validated,
            gaussian=gaussian,
            train_seconds=seconds,
            target_evaluations=0 if self._known is None else self._known.evaluations,
            warnings=_warnings(frame.caution, None if self._known is None else self._known.caution, self._keeper.least),
        )
        return DenoisingSampler(frame, self._model, self._settings, report, names)

    def _backward(self) -> LossRecord:
        noise = self._noise._replace(step=self._stepper.step)
        scores = None if self._known is None else self._known.training
        return self._loss.gradient(self._model, self._training, noise, self._settings.batch_size, scores)

    def _keep(self) -> None:
        """Put the best parameters in place; without rows held out, the newest average."""
        if self._keeper.best is not None:
            self._stepper.load(self._keeper.best)
        else:
            self._stepper.settle()

    def _validate(self) -> None:
        """Judge the average of the parameters on rows held out."""
        if len(self._validation) < _LEAST_ROWS:
            return
        scores = None if self._known is None else self._known.validation
        with self._stepper.settled():
            record = self._judge.evaluate(self._model, self._validation, judging(self._noise), PAIRS, scores)
            _, ours, theirs = share_of(self._judge, record, self._frame.gaussian)
            self._watch.validation = float(ours.sum() / theirs.sum())
            self._keeper.note(self._watch.validation, self._stepper.step, self._stepper.flat())
        if self._keeper.back:
            assert self._keeper.best is not None
            self._stepper.restart(self._keeper.best)

    def _fraction(self) -> float:
        return self._settings.budget.fraction(self._stepper.step, self._pace.seconds, 0)

    def _checkpoint(self) -> None:
        if self._folder is None:
            return
        tensors = join_parts({"model": self._model.state_dict(), "memory": self._loss.tensors()})
        tensors |= self._stepper.tensors() | self._keeper.tensors()
        began = self._hooks.clock()
        write_checkpoint(self._folder, Checkpoint(self._stepper.step, tensors, {"seconds": self._pace.seconds}))
        self._hooks.on_checkpoint(self._stepper.step, self._hooks.clock() - began)


def _split(data: Tensor, settings: DenoisingSettings) -> tuple[Tensor, Tensor]:
    """Numbers of the rows to train on and of those to choose the stopping point on; few rows are all trained on."""
    if data.ndim != 2 or len(data) < _LEAST_ROWS:
        raise ValueError(f"data must have two rows or more and one column or more, got shape {tuple(data.shape)}")
    count = int(settings.validation * len(data))
    count = count if count >= _LEAST_ROWS else 0
    order = torch.randperm(len(data), generator=torch_generator("denoising/split", settings.seed))
    return order[count:], order[:count]


def _known(
    data: Tensor, chosen: Tensor, held: Tensor, frame: Frame, target: Target | None, scores: Tensor | None,
    should_stop: Callable[[], bool],
) -> _Known | None:  # fmt: skip
    """The scores of the rows; None where neither a target nor scores are given."""
    if target is None and scores is None:
        return None
    if frame.levels is not None:
        raise ValueError(
            "data on levels have no density, and so no score: leave the target out, or give head continuous if the "
            "columns are continuous"
        )
    if target is not None and scores is not None:
        raise ValueError("give a target or scores, not both")
    evaluations = 0 if target is None else len(data)
    found = scores if target is None else evaluate_scores(target, data, should_stop)
    assert found is not None, "one of the two is given"
    value = model_scores(found, data, frame.transform)
    training = Scores.of(value[chosen], frame.gaussian.covariance)
    caution = training.doubt(frame.transform.to_model(data[chosen].double()))
    return _Known(training, Scores(value[held], training.local), evaluations, caution)


def _warnings(caution: str | None, doubt: str | None, loss: float) -> tuple[str, ...]:
    found = [each for each in (caution, doubt) if each is not None]
    if math.isnan(loss):
        found.append("no rows were held out: the run went to the end of its budget, and overfitting would not show.")
    elif loss > 1.0:
        found.append("on rows held out the model is behind a Gaussian: too few rows, or too short a budget.")
    return tuple(found)
