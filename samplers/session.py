"""Train a sampler from start to report: precondition, optimise, evaluate once on fresh noise.

Several workers may share the steps (`group`). All but the first only assist: they are told where the run starts, take
their share of every step, and know neither budget nor caller by themselves.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .checkpoint import drop_checkpoints, latest_checkpoint
from .evaluate import BLOCK_SIZE
from .given import checked_rows
from .group import ALONE, Group
from .place import device_of
from .precondition import PRECONDITION_BATCH
from .prepare import Prepared, check_start
from .report import Metrics
from .run import Hooks, StopTraining, TrainingFailed
from .sampler import Sampler
from .settings import TrainingSettings
from .stages import Stages

__all__ = ["assist", "train"]

logger = logging.getLogger(__name__)


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
    group: Group = ALONE,
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
        group: The workers of this run, as many as the settings say; this one is the first. The others `assist`.
        clock: Seconds, monotonic.

    Raises:
        StopTraining: `should_stop` said so.
        TrainingFailed: The target was not finite where the sampler looked, there is no such device, `start` does not
            fit the settings, `samples` do not fit the target, or there are no draws for a loss that learns from draws.
        GroupLost: Another worker is gone.
    """
    try:
        _check_place(settings, group)
        if start is not None:
            check_start(settings, start.settings, target.dim, start.dim)
    except ValueError as error:
        raise TrainingFailed("INCONSISTENT_SETTINGS", str(error)) from error
    rows = None if samples is None else _checked(samples, target)
    startup_seconds += _compile(target, {PRECONDITION_BATCH, settings.batch_size // group.size, BLOCK_SIZE}, clock)
    hooks = Hooks(on_metrics, on_checkpoint, should_stop, clock)
    make = partial(Stages, target, settings, rows, hooks, checkpoint_folder, group)
    stages, prepared = _begun(make, checkpoint_folder, start, group)
    stages.optimise(prepared)
    return stages.finish(prepared, startup_seconds)


def assist(target: Target, settings: TrainingSettings, group: Group, *, samples: Tensor | None = None) -> None:
    """Take a share of the steps of a run that the group's first worker trains, to the end of its steps.

    Args:
        target: The density.
        settings: Those of the first worker.
        group: The workers; this one is not the first.
        samples: Those of the first worker.

    Raises:
        TrainingFailed: As `train`, where all workers see the reason.
        GroupLost: Another worker is gone.
    """
    try:
        _check_place(settings, group)
    except ValueError as error:
        raise TrainingFailed("INCONSISTENT_SETTINGS", str(error)) from error
    rows = None if samples is None else _checked(samples, target)
    _compile(target, {settings.batch_size // group.size}, time.monotonic)
    hooks = Hooks[Metrics](lambda metrics: None, lambda step, seconds: None, lambda: False, time.monotonic)
    stages = Stages(target, settings, rows, hooks, None, group)
    try:
        stages.optimise(stages.restore(stages.heard()))
    except StopTraining:
        # The first worker says so to whoever asked.
        return


def _check_place(settings: TrainingSettings, group: Group) -> None:
    """Raises ValueError unless the device is there, and as many workers as were asked for."""
    device_of(settings.device)
    if group.size != settings.workers:
        raise ValueError(f"workers is {settings.workers}, but {group.size} at work: each needs its place in the group")


def _begun(
    make: Callable[[], Stages], folder: Path | None, start: Sampler | None, group: Group
) -> tuple[Stages, Prepared]:
    """A run that goes on from the newest checkpoint, or begins, also where that is of an earlier version's bridge."""
    stored, stages = None if folder is None else latest_checkpoint(folder), make()
    if stored is not None:
        try:
            return stages, stages.restore(stages.tell(stored))
        except ValueError as error:
            # Earlier versions had no groups.
            if group.size > 1:
                raise
            logger.warning("the checkpoint of step %d is not used, the run begins again: %s", stored.step, error)
            assert folder is not None, "it came from there"
            drop_checkpoints(folder)
            stages = make()
    prepared = stages.prepare() if start is None else stages.go_on(start)
    if group.size > 1:
        stages.tell(stages.state(prepared))
    return stages, prepared


def _checked(samples: Tensor, target: Target) -> Tensor:
    try:
        return checked_rows(samples, target)
    except ValueError as error:
        raise TrainingFailed("UNSUITABLE_DATA", str(error)) from error


def _compile(target: Target, batches: set[int], clock: Callable[[], float]) -> float:
    """Compile what a captured target compiles on first use, a batch size each; returns the seconds that took."""
    started = clock()
    for batch in batches:
        target.log_density_and_score(torch.zeros(batch, target.dim))
    return clock() - started
