"""Train a sampler from start to report: precondition, optimise, evaluate once on fresh noise.

The session owns the clock, the budget, the checkpoints and what the caller is told; the mathematics is in the parts.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .checkpoint import Checkpoint, latest_checkpoint, write_checkpoint
from .counted import CountedTarget
from .evaluate import BLOCK_SIZE
from .finish import finish
from .given import GivenDraws, checked_rows, part_rows
from .goal import CoolDown
from .horizon import settle_horizon
from .objectives import OBJECTIVES
from .objectives.inputs import ObjectiveInputs
from .objectives.start import warm_start
from .optimise import Optimiser, load_bridge
from .place import device_of
from .precondition import PRECONDITION_BATCH
from .prepare import Prepared, check_start, new_bridge, prepare
from .random import torch_generator
from .report import Metrics, PreconditionReport, Served, Times
from .run import Hooks, Pace, StopTraining, TrainingFailed
from .sampler import Sampler, pack_coordinates, unpack_coordinates
from .samples import drawing, pooled, resampled
from .settings import TrainingSettings
from .stepper import join_parts
from .watch import Watch

__all__ = ["train"]

logger = logging.getLogger(__name__)

# Of a budget, at most: good coordinates are worth more than steps. The preconditioner then stays where it got to.
_PRECONDITION_SHARE = 0.5
# After this many steps without two finite paths the target is hopeless where the bridge starts.
_HOPELESS_STEPS = 20


def train(
    target: Target,
    settings: TrainingSettings,
    *,
    start: Sampler | None = None,
    samples: Tensor | None = None,
    on_metrics: Callable[[Metrics], None] = lambda metrics: None,
    on_checkpoint: Callable[[int, float], None] = lambda step, seconds: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_folder: Path | None = None,
    startup_seconds: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> Sampler:
    """Train a sampler and measure it once.

    Args:
        target: The density.
        settings: Method, loss, budget and the rest.
        start: An earlier sampler of the same method and size: go on from its coordinates and parameters.
        samples: Draws of the target, `rows x dim`, column i being its unconstrained coordinate i. Half of the distinct
            rows warm-start the bridge before the loss takes over; the other half gives the report its EUBO.
        on_metrics: Told of progress about twice a second.
        on_checkpoint: Told the step of each checkpoint, once it is on disk, and the seconds that writing took.
        should_stop: Asked before every step.
        checkpoint_folder: Existing folder for checkpoints; the newest one in it is resumed.
        startup_seconds: Time before this call, for the report; compiling the target is added to it.
        clock: Seconds, monotonic.

    Raises:
        StopTraining: `should_stop` said so.
        TrainingFailed: The target was not finite where the sampler looked, there is no such device, `start` does not
            fit the settings, `samples` do not fit the target, or there are no draws for a loss that learns from draws.
    """
    try:
        device_of(settings.device)
        if start is not None:
            check_start(settings, start.settings, target.dim, start.dim)
    except ValueError as error:
        raise TrainingFailed("INCONSISTENT_SETTINGS", str(error)) from error
    rows = None if samples is None else _checked(samples, target)
    startup_seconds += _compile(target, settings, clock)
    hooks = Hooks(on_metrics, on_checkpoint, should_stop, clock)
    run, prepared = _begun(lambda: _Run(target, settings, rows, hooks, checkpoint_folder), checkpoint_folder, start)
    run.optimise(prepared)
    return run.finish(prepared, startup_seconds)


def _begun(make: "Callable[[], _Run]", folder: Path | None, start: Sampler | None) -> "tuple[_Run, Prepared]":
    """A run that goes on from the newest checkpoint, or begins, also where that is of an earlier version's bridge."""
    stored, run = None if folder is None else latest_checkpoint(folder), make()
    if stored is not None:
        try:
            return run, run.restore(stored)
        except ValueError as error:
            logger.warning("the checkpoint of step %d is not used, the run begins again: %s", stored.step, error)
            run = make()
    return run, run.prepare() if start is None else run.go_on(start)


def _checked(samples: Tensor, target: Target) -> Tensor:
    try:
        return checked_rows(samples, target)
    except ValueError as error:
        raise TrainingFailed("UNSUITABLE_DATA", str(error)) from error


def _compile(target: Target, settings: TrainingSettings, clock: Callable[[], float]) -> float:
    """Compile what a captured target compiles on first use, a batch size each; returns the seconds that took."""
    started = clock()
    for batch in {PRECONDITION_BATCH, settings.batch_size, BLOCK_SIZE}:
        target.log_density_and_score(torch.zeros(batch, target.dim))
    return clock() - started


class _Run:
    """One training run: its budget, its checkpoints, its three stages."""

    _optimiser: Optimiser
    _given: GivenDraws | None = None

    def __init__(
        self,
        target: Target,
        settings: TrainingSettings,
        rows: Tensor | None,
        hooks: Hooks[Metrics],
        folder: Path | None,
    ) -> None:
        self._target, self._counted, self._rows = target, CountedTarget(target), rows
        self._settings, self._hooks, self._folder = settings, hooks, folder
        self._watch = Watch(hooks.on_metrics, hooks.clock)
        self._pace = Pace(hooks.clock)
        self._cool_down = CoolDown(settings.goal)

    def prepare(self) -> Prepared:
        """Find coordinates and write the first checkpoint."""
        self._watch.stage("precondition", 0, 0.0, 0.0, 0)
        try:
            found = prepare(self._counted, self._settings, self._precondition_spent)
        except ValueError as error:
            raise TrainingFailed("NON_FINITE_LOG_DENSITY", str(error)) from error
        if self._hooks.should_stop():
            raise StopTraining
        return self._begin(found._replace(seconds=self._pace.seconds))

    def go_on(self, start: Sampler) -> Prepared:
        """Start from the coordinates of an earlier sampler, and its parameters if it serves a bridge."""
        view, draws = start.coordinates.view(self._counted), None
        if self._settings.loss.from_draws:
            draws = resampled(start.bridge, view, self._settings.seed)
        prepared = Prepared(start.coordinates, start.components, start.report.precondition, 0.0, draws)
        self._optimiser = self._new_optimiser(prepared)
        if start.report.served is Served.BRIDGE:
            load_bridge(self._optimiser.bridge, join_parts({"bridge": start.bridge.state_dict()}))
        self._checkpoint(prepared)
        return prepared

    def restore(self, stored: Checkpoint) -> Prepared:
        """Go on where a checkpoint was written."""
        record = stored.record
        coordinates, components = unpack_coordinates(stored.tensors)
        report = PreconditionReport(**record["precondition"])
        draws = stored.tensors.get("prepared.draws")
        prepared = Prepared(coordinates, components, report, record["precondition_seconds"], draws)
        self._optimiser = self._new_optimiser(prepared)
        # Evaluations that only repeat what was counted before are not counted again.
        self._optimiser.restore(stored.tensors, stored.step, coordinates.view(self._counted))
        self._pace.go_on(record["seconds"])
        self._counted.evaluations, self._watch.non_finite = record["target_evaluations"], record["non_finite_paths"]
        self._cool_down.restore(record.get("cool_down"))
        self._watch.restore(stored.tensors)
        return prepared

    def optimise(self, prepared: Prepared) -> None:
        """Steps until the budget is spent, or the goal reached and cooled down from."""
        view, hopeless = prepared.coordinates.view(self._counted), 0
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
            progress = (self._optimiser.step, self._pace.seconds, self._fraction(), self._counted.evaluations)
            self._watch.step(gradient, *progress)
            if not gradient.warming:
                self._cool_down.note(self._watch.recent, self._budget_fraction())
            if self._pace.due():
                self._checkpoint(prepared)
        self._checkpoint(prepared)

    def finish(self, prepared: Prepared, startup_seconds: float) -> Sampler:
        """The trained sampler with its report. The budget's clock has stopped."""
        times = Times(prepared.seconds, self._pace.seconds - prepared.seconds, 0.0, startup_seconds)
        started = self._hooks.clock()
        self._optimiser.settle()

        def progress(fraction: float) -> None:
            # The last checkpoint stands: time spent on evaluation is none of the budget's.
            if self._hooks.should_stop():
                raise StopTraining
            seconds = self._hooks.clock() - started
            self._watch.stage("evaluate", self._optimiser.step, seconds, fraction, self._counted.evaluations)

        try:
            return finish(
                self._optimiser.bridge, prepared, self._given, self._target, self._counted, self._settings,
                times, progress, self._hooks.clock,
            )  # fmt: skip
        except ValueError as error:
            raise TrainingFailed("NON_FINITE_LOG_DENSITY", str(error)) from error

    def _begin(self, prepared: Prepared) -> Prepared:
        self._optimiser = self._new_optimiser(prepared)
        if prepared.report.elbo is not None:
            # Without a preconditioner the prior is nowhere near the target, and what suits it says nothing of the rest.
            view, settings = prepared.coordinates.view(self._counted), self._settings
            settle_horizon(self._optimiser.bridge, view, settings.seed, settings.batch_size)
        self._checkpoint(prepared)
        return prepared

    def _new_optimiser(self, prepared: Prepared) -> Optimiser:
        settings = self._settings
        bridge = new_bridge(self._target.dim, settings, prepared.components)
        view, draw = prepared.coordinates.view(self._target), None
        given = self._given = None if self._rows is None else part_rows(view.from_target(self._rows), settings.seed)
        if settings.loss.from_draws:
            draw = drawing(view, prepared.draws) if given is None else pooled(given.training)
        try:
            objective = OBJECTIVES[settings.loss](
                ObjectiveInputs(settings, bridge, torch_generator("objective", settings.seed), draw)
            )
        except ValueError as error:
            raise TrainingFailed("NO_SAMPLES", str(error)) from error
        if given is not None and not settings.loss.from_draws:
            objective = warm_start(bridge, settings, given, objective)
        return Optimiser(bridge, objective.to(device_of(settings.device)), settings)

    def _precondition_spent(self) -> float:
        if self._hooks.should_stop():
            return 1.0
        settings, seconds, evaluations = self._settings, self._pace.seconds, self._counted.evaluations
        self._watch.search(seconds, settings.budget.fraction(0, seconds, evaluations), evaluations)
        a_step = settings.batch_size * (settings.steps + 1)
        return settings.budget.fraction_before_steps(seconds, evaluations, a_step) / _PRECONDITION_SHARE

    def _budget_fraction(self) -> float:
        return self._settings.budget.fraction(self._optimiser.step, self._pace.seconds, self._counted.evaluations)

    def _fraction(self) -> float:
        return self._cool_down.fraction(self._budget_fraction())

    def _stop_if_asked(self, prepared: Prepared) -> None:
        if self._hooks.should_stop():
            self._checkpoint(prepared)
            raise StopTraining

    def _checkpoint(self, prepared: Prepared) -> None:
        if self._folder is None:
            return
        record = {
            "seconds": self._pace.seconds,
            "target_evaluations": self._counted.evaluations,
            "non_finite_paths": self._watch.non_finite,
            "precondition": asdict(prepared.report),
            "precondition_seconds": prepared.seconds,
            "cool_down": self._cool_down.state(),
        }
        step = self._optimiser.step
        tensors = self._optimiser.tensors() | self._watch.tensors()
        tensors |= pack_coordinates(prepared.coordinates, prepared.components)
        if prepared.draws is not None:
            tensors["prepared.draws"] = prepared.draws
        began = self._hooks.clock()
        write_checkpoint(self._folder, Checkpoint(step, tensors, record))
        self._hooks.on_checkpoint(step, self._hooks.clock() - began)
