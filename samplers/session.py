"""Train a sampler from start to report: precondition, optimise, evaluate once on fresh noise.

The session owns the clock, the budget, the checkpoints and what the caller is told; the mathematics is in the parts.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch

from gephyra.targets.base import OpaqueTarget, Target

from .algorithms import BUILDERS
from .checkpoint import Checkpoint, latest_checkpoint, write_checkpoint
from .coordinates import Coordinates
from .counted import CountedTarget
from .diagnose import diagnose
from .evaluate import BLOCK_SIZE, EUBO_PATHS, estimate_eubo, estimate_fresh
from .gradient import GradientOf, detached_gradient, reparametrised_gradient
from .losses import log_variance, reverse_kl_log_derivative
from .optimise import Optimiser
from .precondition import PRECONDITION_BATCH, precondition
from .random import torch_generator
from .report import Metrics, PreconditionReport, Report, Times
from .sampler import Sampler
from .settings import Loss, TrainingSettings
from .watch import Watch

__all__ = ["GRADIENTS", "REPORT_PATHS", "StopTraining", "TrainingFailed", "train"]

REPORT_PATHS = 16384
"""Fresh forward paths behind a report; the ESS fraction and k-hat depend on the number."""

_CHECKPOINT_SECONDS = 5.0
# Of a budget in seconds, at most: good coordinates are worth more than steps. The Gaussian then stays where it got to.
_PRECONDITION_SHARE = 0.5
# After this many steps without two finite paths the target is hopeless where the bridge starts.
_HOPELESS_STEPS = 20

GRADIENTS: Mapping[Loss, GradientOf] = {
    Loss.RKL_LD: detached_gradient(reverse_kl_log_derivative),
    Loss.LV: detached_gradient(log_variance),
    Loss.RKL_R: reparametrised_gradient,
}
"""How each loss is differentiated: the only place where words become losses."""


class StopTraining(Exception):
    """Training was asked to stop and did, at a checkpoint where a folder was given."""


class TrainingFailed(Exception):
    """Training cannot go on. `reason` is a word for programs, the message a sentence for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Hooks(NamedTuple):
    """What the caller of `train` passed to be told and asked."""

    on_metrics: Callable[[Metrics], None]
    on_checkpoint: Callable[[int], None]
    should_stop: Callable[[], bool]
    clock: Callable[[], float]


class _Prepared(NamedTuple):
    """Where optimisation starts: coordinates, and the facts about them."""

    coordinates: Coordinates
    report: PreconditionReport
    precondition_seconds: float


def train(
    target: Target,
    settings: TrainingSettings,
    *,
    on_metrics: Callable[[Metrics], None] = lambda metrics: None,
    on_checkpoint: Callable[[int], None] = lambda step: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_folder: Path | None = None,
    startup_seconds: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> Sampler:
    """Train a sampler and measure it once.

    Args:
        target: The density.
        settings: Method, loss, budget and the rest.
        on_metrics: Told of progress about twice a second.
        on_checkpoint: Told the step of each checkpoint, once it is on disk.
        should_stop: Asked before every step.
        checkpoint_folder: Existing folder for checkpoints; the newest one in it is resumed.
        startup_seconds: Time before this call, for the report; compiling the target is added to it.
        clock: Seconds, monotonic.

    Raises:
        StopTraining: `should_stop` said so.
        TrainingFailed: The target was not finite where the sampler looked.
    """
    startup_seconds += _warm_up(target, settings, clock)
    hooks = _Hooks(on_metrics, on_checkpoint, should_stop, clock)
    run = _Run(target, settings, hooks, checkpoint_folder)
    stored = None if checkpoint_folder is None else latest_checkpoint(checkpoint_folder)
    prepared = run.prepare() if stored is None else run.restore(stored)
    run.optimise(prepared)
    return run.finish(prepared, startup_seconds)


def _warm_up(target: Target, settings: TrainingSettings, clock: Callable[[], float]) -> float:
    """Compile what a captured target compiles on first use, a batch size each; returns the seconds that took."""
    started = clock()
    for batch in {PRECONDITION_BATCH, settings.batch_size, BLOCK_SIZE}:
        target.log_density_and_score(torch.zeros(batch, target.dim))
    return clock() - started


class _Run:
    """One training run: its budget, its checkpoints, its three stages."""

    def __init__(self, target: Target, settings: TrainingSettings, hooks: _Hooks, folder: Path | None) -> None:
        self._target, self._counted = target, CountedTarget(target)
        self._settings, self._hooks, self._folder = settings, hooks, folder
        self._watch = Watch(hooks.on_metrics, hooks.clock)
        bridge = BUILDERS[settings.method](target.dim, settings, torch_generator("init", settings.seed))
        self._optimiser = Optimiser(bridge, GRADIENTS[settings.loss], settings)
        # Budget seconds spent by earlier attempts, and the clock reading they are counted from.
        self._spent, self._origin = 0.0, hooks.clock()

    def prepare(self) -> _Prepared:
        """Find coordinates and write the first checkpoint."""
        self._watch.stage("precondition", 0, 0.0, 0.0, 0)
        settings = self._settings
        try:
            found = precondition(settings.precondition, self._counted, settings.seed, self._precondition_spent)
        except ValueError as error:
            raise TrainingFailed("NON_FINITE_LOG_DENSITY", str(error)) from error
        if self._hooks.should_stop():
            raise StopTraining
        prepared = _Prepared(found.coordinates, found.report, self._seconds())
        self._checkpoint(prepared)
        return prepared

    def _precondition_spent(self) -> float:
        if self._hooks.should_stop():
            return 1.0
        return self._settings.budget.fraction(0, self._seconds()) / _PRECONDITION_SHARE

    def restore(self, stored: Checkpoint) -> _Prepared:
        """Go on where a checkpoint was written."""
        record = stored.record
        self._optimiser.restore(stored.tensors, stored.step)
        self._spent, self._origin = record["seconds"], self._hooks.clock()
        self._counted.evaluations, self._watch.non_finite = record["target_evaluations"], record["non_finite_paths"]
        coordinates = Coordinates(stored.tensors["coordinates.shift"], stored.tensors["coordinates.scale"])
        return _Prepared(coordinates, PreconditionReport(**record["precondition"]), record["precondition_seconds"])

    def optimise(self, prepared: _Prepared) -> None:
        """Steps until the budget is spent."""
        view, hopeless, saved = prepared.coordinates.view(self._counted), 0, self._hooks.clock()
        while (fraction := self._fraction()) < 1.0:
            self._stop_if_asked(prepared)
            gradient = self._optimiser.advance(view, fraction)
            hopeless = 0 if int(gradient.log_weight.isfinite().sum()) > 1 else hopeless + 1
            if hopeless >= _HOPELESS_STEPS:
                raise TrainingFailed(
                    "NON_FINITE_LOG_DENSITY",
                    f"no path had a finite weight in {hopeless} consecutive steps: the log density or its score is not "
                    "finite where the sampler looks; check the target, or try another preconditioner",
                )
            progress = (self._optimiser.step, self._seconds(), self._fraction(), self._counted.evaluations)
            self._watch.step(gradient, *progress)
            if self._hooks.clock() - saved > _CHECKPOINT_SECONDS:
                self._checkpoint(prepared)
                saved = self._hooks.clock()
        self._checkpoint(prepared)

    def finish(self, prepared: _Prepared, startup_seconds: float) -> Sampler:
        """The trained sampler with its report. The budget's clock has stopped."""
        train_seconds, started = self._seconds() - prepared.precondition_seconds, self._hooks.clock()
        settings, bridge = self._settings, self._optimiser.bridge.requires_grad_(False)
        view = prepared.coordinates.view(self._counted)

        def progress(fraction: float) -> None:
            # The last checkpoint stands: time spent on evaluation is none of the budget's.
            if self._hooks.should_stop():
                raise StopTraining
            seconds = self._hooks.clock() - started
            self._watch.stage("evaluate", self._optimiser.step, seconds, fraction, self._counted.evaluations)

        try:
            estimates, non_finite = estimate_fresh(bridge, view, "report", settings.seed, REPORT_PATHS, progress)
        except ValueError as error:
            raise TrainingFailed("NON_FINITE_LOG_DENSITY", str(error)) from error
        eubo = estimate_eubo(bridge, view, settings.seed, EUBO_PATHS)
        evaluate_seconds = self._hooks.clock() - started
        report = Report(
            **estimates._asdict(),
            **eubo._asdict(),
            paths=REPORT_PATHS,
            seed=settings.seed,
            non_finite_paths=non_finite,
            target_evaluations=self._counted.evaluations,
            times=Times(prepared.precondition_seconds, train_seconds, evaluate_seconds, startup_seconds),
            precondition=prepared.report,
            reference_log_z=self._target.log_z,
        )
        report = replace(report, warnings=(*diagnose(report), *self._caveats()))
        return Sampler(self._target, prepared.coordinates, bridge, settings, report)

    def _caveats(self) -> tuple[str, ...]:
        if self._settings.loss is Loss.RKL_R and isinstance(self._target, OpaqueTarget):
            return ("loss rkl-r took the score of this target as a constant: it has no second derivatives in torch.",)
        return ()

    def _seconds(self) -> float:
        return self._spent + self._hooks.clock() - self._origin

    def _fraction(self) -> float:
        return self._settings.budget.fraction(self._optimiser.step, self._seconds())

    def _stop_if_asked(self, prepared: _Prepared) -> None:
        if self._hooks.should_stop():
            self._checkpoint(prepared)
            raise StopTraining

    def _checkpoint(self, prepared: _Prepared) -> None:
        if self._folder is None:
            return
        coordinates = {f"coordinates.{name}": value for name, value in prepared.coordinates._asdict().items()}
        record = {
            "seconds": self._seconds(),
            "target_evaluations": self._counted.evaluations,
            "non_finite_paths": self._watch.non_finite,
            "precondition": asdict(prepared.report),
            "precondition_seconds": prepared.precondition_seconds,
        }
        step = self._optimiser.step
        write_checkpoint(self._folder, Checkpoint(step, self._optimiser.tensors() | coordinates, record))
        self._hooks.on_checkpoint(step)
