"""What is told of recent steps is of steps of one kind."""

import math

import torch

from gephyra.samplers.objective import Gradient
from gephyra.samplers.report import Metrics
from gephyra.samplers.watch import Watch

PATHS = 16


def watched(told: list[Metrics]) -> Watch:
    return Watch(told.append, iter(range(1000)).__next__)


def steps(watch: Watch, first: int, count: int, *, warming: bool) -> None:
    """All paths of equal weight: an ESS of one."""
    gradient = Gradient.of(torch.zeros(PATHS, dtype=torch.float64), warming=warming)
    for step in range(first, first + count):
        watch.note(gradient, step)
        watch.step(step, 0.0, 0.0, 0)


def test_paths_of_a_warm_start_are_no_estimate_of_what_comes_after_though_there_are_as_many_a_step() -> None:
    told: list[Metrics] = []
    watch = watched(told)
    steps(watch, 1, 16, warming=True)
    assert watch.recent.ess_fraction == 1.0
    steps(watch, 17, 1, warming=False)
    assert math.isnan(watch.recent.ess_fraction)
    assert [metrics.stage for metrics in told] == ["warm-start"] * 16 + ["train"]
    steps(watch, 18, 15, warming=False)
    assert watch.recent.ess_fraction == 1.0


def test_a_restored_watch_knows_whose_paths_it_has() -> None:
    before, after = watched([]), watched([])
    steps(before, 1, 16, warming=True)
    after.restore(before.tensors())
    steps(after, 17, 1, warming=False)
    assert after.tensors()["watch.recent"].shape == (1, PATHS)
