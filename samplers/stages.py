"""The stages of a training run: find a start, optimise, finish.

They own the clock, the budget, the checkpoints and what the caller is told; the mathematics is in the parts.
"""

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from gephyra.targets.base import Target

from .checkpoint import Checkpoint, write_checkpoint
from .counted import CountedTarget
from .finish import finish
from .given import GivenDraws, part_rows
from .goal import CoolDown
from .group import Group, tell
from .horizon import settle_horizon
from .objectives import OBJECTIVES
from .objectives.inputs import ObjectiveInputs
from .objectives.start import warm_start
from .optimise import Optimiser, load_bridge
from .place import device_of
from .prepare import Prepared, new_bridge, prepare
from .progress import Progress
from .random import torch_generator
from .report import Metrics, PreconditionReport, Served, Times
from .run import Hooks, Pace, StopTraining, TrainingFailed
from .sampler import Sampler, pack_coordinates, unpack_coordinates
from .samples import drawing, pooled, resampled
from .settings import TrainingSettings
from .stepper import join_parts
from .storage import from_bytes, to_bytes
from .watch import Watch

__all__ = ["Stages"]

# Of a budget, at most: good coordinates are worth more than steps. The preconditioner then stays where it got to.
_PRECONDITION_SHARE = 0.5
# After this many steps without two finite paths the target is hopeless where the bridge starts.
_HOPELESS_STEPS = 20
# Workers that wait for the preconditioner hear so often that the first one still lives.
_WORD_SECONDS = 10.0


class Stages:
    """One training run: its budget, its checkpoints, its three stages.

    Args:
        target: The density.
        settings: Of the run.
        rows: Draws of the target that the caller brought, checked.
        hooks: The caller's.
        folder: For checkpoints; None: nowhere.
        group: The workers. The first one prepares, decides, writes and finishes.
    """

    _optimiser: Optimiser
    _given: GivenDraws | None = None

    def __init__(
        self,
        target: Target,
        settings: TrainingSettings,
        rows: Tensor | None,
        hooks: Hooks[Metrics],
        folder: Path | None,
        group: Group,
    ) -> None:
        self._target, self._counted, self._rows = target, CountedTarget(target), rows
        self._settings, self._hooks, self._folder, self._group = settings, hooks, folder, group
        self._watch = Watch(hooks.on_metrics, hooks.clock)
        self._pace, self._spoke = Pace(hooks.clock), hooks.clock()
        self._cool_down = CoolDown(settings.goal)

    def tell(self, state: Checkpoint) -> Checkpoint:
        """Tell the other workers where the run starts; returns the same."""
        if self._group.size > 1:
            tell(self._group, to_bytes(state.tensors, {**state.record, "step": state.step}))
        return state

    def heard(self) -> Checkpoint:
        """What the first worker told."""
        while not (message := tell(self._group)):
            # It is still at work on that.
            pass
        tensors, record = from_bytes(message)
        return Checkpoint(int(record.pop("step")), tensors, record)

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
        progress = Progress(self._settings.budget, self._cool_down, self._counted, self._pace, self._group)
        progress.meet(self._optimiser.step, stop=self._hooks.should_stop())
        while progress.fraction < 1.0:
            if progress.stop:
                self._checkpoint(prepared)
                raise StopTraining
            gradient = self._optimiser.advance(view, progress.fraction)
            hopeless = 0 if int(gradient.log_weight.isfinite().sum()) > 1 else hopeless + 1
            if hopeless >= _HOPELESS_STEPS:
                raise TrainingFailed(
                    "NON_FINITE_LOG_DENSITY",
                    f"no path had a finite weight in {hopeless} consecutive steps: the log density or its score is not "
                    "finite where the sampler looks; check the target, or try another preconditioner",
                )
            step = self._optimiser.step
            self._watch.note(gradient, step)
            reached = not gradient.warming and self._cool_down.reached(self._watch.recent)
            progress.meet(step, stop=self._hooks.should_stop(), reached=reached)
            self._watch.step(step, progress.seconds, progress.fraction, progress.evaluations)
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
        return Optimiser(bridge, objective.to(device_of(settings.device)), settings, self._group)

    def _precondition_spent(self) -> float:
        if self._hooks.should_stop():
            return 1.0
        if self._group.size > 1 and self._hooks.clock() - self._spoke >= _WORD_SECONDS:
            self._spoke = self._hooks.clock()
            tell(self._group)
        settings, seconds, evaluations = self._settings, self._pace.seconds, self._counted.evaluations
        self._watch.search(seconds, settings.budget.fraction(0, seconds, evaluations), evaluations)
        a_step = settings.batch_size * (settings.steps + 1)
        return settings.budget.fraction_before_steps(seconds, evaluations, a_step) / _PRECONDITION_SHARE

    def _checkpoint(self, prepared: Prepared) -> None:
        if self._folder is None:
            return
        state, began = self.state(prepared), self._hooks.clock()
        write_checkpoint(self._folder, state)
        self._hooks.on_checkpoint(state.step, self._hooks.clock() - began)

    def state(self, prepared: Prepared) -> Checkpoint:
        """Everything that the next step depends on."""
        record = {
            "seconds": self._pace.seconds,
            "target_evaluations": self._counted.evaluations,
            "non_finite_paths": self._watch.non_finite,
            "precondition": asdict(prepared.report),
            "precondition_seconds": prepared.seconds,
            "cool_down": self._cool_down.state(),
        }
        tensors = self._optimiser.tensors() | self._watch.tensors()
        tensors |= pack_coordinates(prepared.coordinates, prepared.components)
        if prepared.draws is not None:
            tensors["prepared.draws"] = prepared.draws
        return Checkpoint(self._optimiser.step, tensors, record)
