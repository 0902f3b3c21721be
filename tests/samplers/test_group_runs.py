"""Whole runs of several workers: the same result, exact resume, and no worker that waits for ever."""

import time
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gephyra.samplers.group import Alone, Group, GroupLost, Share, tell
from gephyra.samplers.report import Metrics
from gephyra.samplers.run import StopTraining, TrainingFailed
from gephyra.samplers.sampler import Sampler
from gephyra.samplers.session import assist, train
from gephyra.samplers.settings import Budget, Goal, Loss, Precision, Precondition, TrainingSettings
from gephyra.targets.base import AutogradTarget
from gephyra.targets.gaussian import Gaussian
from tests.samplers.together import together

TARGET = Gaussian([0.5, -0.5], [0.8, 1.2])
ROWS = TARGET.sample(200, torch.Generator().manual_seed(0))


def settings(**changes: object) -> TrainingSettings:
    small = {"budget": Budget(iterations=30), "batch_size": 24, "steps": 4, "width": 8, "workers": 2}
    precise = {"precision": Precision.FLOAT64, "precondition": Precondition.NONE}
    return TrainingSettings(**{**small, **precise, **changes})  # type: ignore[arg-type]


def run(folder: Path, wanted: TrainingSettings, **options: Any) -> Sampler:
    """Train with as many workers as the settings say; what the first one makes of it."""

    def work(group: Group) -> Sampler | None:
        if group.rank:
            assist(TARGET, wanted, group, samples=options.get("samples"))
            return None
        return train(TARGET, wanted, group=group, **options)

    found = together(folder, wanted.workers, work)[0]
    assert found is not None
    return found


def parameters(sampler: Sampler) -> Tensor:
    return torch.cat([value.flatten().double() for value in sampler.bridge.state_dict().values()])


RUNS: dict[str, tuple[dict[str, object], dict[str, Any]]] = {
    "preconditioned": ({"precondition": Precondition.AUTO}, {}),
    "three workers": ({"workers": 3}, {}),
    "averaged": ({"ema": 0.9}, {}),
    "a goal": ({"goal": Goal(gap=3.0), "budget": Budget(iterations=400)}, {}),
    "a budget of evaluations": ({"budget": Budget(target_evaluations=4000)}, {}),
    "a budget of evaluations, draws": ({"budget": Budget(target_evaluations=4000), "loss": Loss.FKL}, {}),
    "draws": ({"budget": Budget(iterations=60)}, {"samples": ROWS}),
}


SLOW = {"three workers", "averaged", "a budget of evaluations"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in RUNS])
def test_a_run_of_several_workers_is_that_of_one(name: str, tmp_path: Path) -> None:
    changes, options = RUNS[name]
    several = run(tmp_path, settings(**changes), **options)
    alone = train(TARGET, settings(**{**changes, "workers": 1}), **options)
    assert several.report.target_evaluations == alone.report.target_evaluations
    torch.testing.assert_close(parameters(several), parameters(alone), rtol=1e-7, atol=1e-7)
    assert several.report.log_z == pytest.approx(alone.report.log_z, abs=1e-7)
    assert several.report.elbo == pytest.approx(alone.report.elbo, abs=1e-7)


def test_the_goal_of_that_run_is_reached_early() -> None:
    changes, _ = RUNS["a goal"]
    told: list[Metrics] = []
    train(TARGET, settings(**{**changes, "workers": 1}), on_metrics=told.append)
    assert 16 <= max(metrics.step for metrics in told) < 100


RESUMED: dict[str, tuple[dict[str, object], dict[str, Any]]] = {
    "rkl-ld": ({"precision": Precision.FLOAT32}, {}),
    "a buffer": ({"loss": Loss.TR_LV}, {}),
    "log Z learned": ({"loss": Loss.TB, "ema": 0.9}, {}),
    "draws": ({}, {"samples": ROWS}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_several_workers_resume_exactly(name: str, tmp_path: Path) -> None:
    changes, options = RESUMED[name]
    whole = run(tmp_path, settings(**changes), **options)
    folder = tmp_path / "work"
    folder.mkdir()
    stopping = map((9).__lt__, count()).__next__
    with pytest.raises(StopTraining):
        run(folder, settings(**changes), checkpoint_folder=folder, should_stop=stopping, **options)
    (folder / "store").unlink(missing_ok=True)
    resumed = run(folder, settings(**changes), checkpoint_folder=folder, **options)
    assert torch.equal(parameters(resumed), parameters(whole))
    assert resumed.report.target_evaluations == whole.report.target_evaluations


class Nowhere(AutogradTarget):
    """A density that is zero everywhere."""

    dim = 2

    def _log_density(self, x: Tensor) -> Tensor:
        return x.sum(-1) * 0.0 - torch.inf


def test_all_workers_see_that_a_target_is_hopeless(tmp_path: Path) -> None:
    failures = []

    def work(group: Group) -> None:
        take_part = partial(assist, group=group) if group.rank else partial(train, group=group)
        with pytest.raises(TrainingFailed, match="finite") as failure:
            take_part(Nowhere(), settings())
        failures.append(failure.value.reason)

    together(tmp_path, 2, work)
    assert failures == ["NON_FINITE_LOG_DENSITY"] * 2


class Dying(AutogradTarget):
    """Gives up, or hangs for a while, after some evaluations."""

    dim = 2

    def __init__(self, seconds: float) -> None:
        self._left, self._seconds = 20, seconds

    def _log_density(self, x: Tensor) -> Tensor:
        self._left -= 1
        if self._left < 0:
            time.sleep(self._seconds)
            raise MemoryError
        return -0.5 * x.square().sum(-1)


@pytest.mark.parametrize(("seconds", "timeout"), [(0.0, 60.0), (3.0, 1.0)], ids=["dies", "stalls"])
def test_nobody_waits_for_ever_for_a_worker_that_is_gone(seconds: float, timeout: float, tmp_path: Path) -> None:
    began = time.monotonic()
    took = []

    def work(group: Group) -> None:
        if group.rank:
            with pytest.raises((MemoryError, GroupLost)):
                assist(Dying(seconds), settings(), group)
            return
        with pytest.raises(GroupLost, match="worker 0 of 2 lost the others"):
            train(TARGET, settings(budget=Budget(iterations=10**6)), group=group)
        took.append(time.monotonic() - began)

    together(tmp_path, 2, work, timeout=timeout)
    assert took[0] < 20.0


def test_a_group_that_is_not_complete_is_lost(tmp_path: Path) -> None:
    from gephyra.samplers.gloo import Gloo

    with pytest.raises(GroupLost, match="worker 0 of 2 did not find the others"):
        Gloo(tmp_path / "store", 0, 2, timeout=1.0)


@pytest.mark.parametrize("workers", [1, 2])
def test_settings_and_group_must_agree(workers: int) -> None:
    wanted = settings(workers=workers)
    if workers == 1:
        assert train(TARGET, wanted, group=Alone()).settings.workers == 1
        return
    with pytest.raises(TrainingFailed, match="workers is 2, but 1 at work") as failure:
        train(TARGET, wanted)
    assert failure.value.reason == "INCONSISTENT_SETTINGS"


def test_shares_are_a_partition_whatever_the_numbers(tmp_path: Path) -> None:
    values = torch.arange(14, dtype=torch.float64).view(2, 7)

    def work(group: Group) -> None:
        for size in (1, 2, 3, 7):
            whole = values[:, :size]
            share = Share(group, size)
            assert torch.equal(share.gather(whole[:, share.rows]), whole)
        assert torch.equal(group.sum(torch.tensor([group.rank, 1.0])), torch.tensor([3.0, 3.0]))
        assert torch.equal(group.first(torch.tensor([float(group.rank)])), torch.zeros(1))
        assert tell(group, b"a message" if group.rank == 0 else b"") == b"a message"
        assert tell(group) == b""

    together(tmp_path, 3, work)
