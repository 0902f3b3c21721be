"""Training from start to report: budgets, checkpoints, exact resume, stops, failures."""

from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gephyra.samplers.algorithms import BUILDERS
from gephyra.samplers.checkpoint import Checkpoint, latest_checkpoint, write_checkpoint
from gephyra.samplers.finish import REPORT_PATHS
from gephyra.samplers.objectives import OBJECTIVES
from gephyra.samplers.report import Metrics
from gephyra.samplers.run import StopTraining, TrainingFailed
from gephyra.samplers.sampler import Sampler
from gephyra.samplers.session import train
from gephyra.samplers.settings import Budget, Loss, Method, Precondition, TrainingSettings
from gephyra.targets.base import AutogradTarget, OpaqueTarget
from gephyra.targets.gaussian import Gaussian


def settings(**changes: object) -> TrainingSettings:
    small = {"budget": Budget(iterations=20), "batch_size": 32, "steps": 4, "width": 8}
    return TrainingSettings(**{**small, "precondition": Precondition.NONE, **changes})  # type: ignore[arg-type]


TARGET = Gaussian([0.5, -0.5], [0.8, 1.2])


def draws(sampler: Sampler, n: int = 300, seed: int = 1) -> Tensor:
    return torch.cat([torch.cat([part.x.double(), part.log_weight[:, None]], 1) for part in sampler.draw(seed, 0, n)])


CHOICES = [(method, Loss.RKL_LD, Precondition.NONE) for method in BUILDERS]
CHOICES += [(Method.DBS, loss, Precondition.NONE) for loss in OBJECTIVES if loss is not Loss.RKL_LD]
# A preconditioner sees neither method nor loss: one of each is enough.
CHOICES += [(Method.DBS, Loss.RKL_LD, kind) for kind in Precondition if kind is not Precondition.NONE]


@pytest.mark.parametrize(("method", "loss", "precondition"), CHOICES)
def test_every_choice_trains(method: Method, loss: Loss, precondition: Precondition) -> None:
    sampler = train(TARGET, settings(method=method, loss=loss, precondition=precondition))
    report = sampler.report
    assert report.paths == REPORT_PATHS
    assert report.elbo <= report.log_z
    assert abs(report.log_z) < 6 * report.log_z_se + 1e-3
    assert report.eubo is not None
    assert report.elbo - 6 * report.elbo_se <= 0 <= report.eubo + 6 * (report.eubo_se or 0)
    assert report.reference_log_z == 0.0


def test_stopping_and_resuming_is_exact(tmp_path: Path) -> None:
    """k steps, a stop, and the other N - k give the weights of N steps, bit for bit."""
    whole = train(TARGET, settings())
    for limit in (1, 9):
        with pytest.raises(StopTraining):
            train(TARGET, settings(), checkpoint_folder=tmp_path, should_stop=map(limit.__lt__, count()).__next__)
    resumed = train(TARGET, settings(), checkpoint_folder=tmp_path)
    assert torch.equal(draws(whole), draws(resumed))
    assert whole.report.target_evaluations == resumed.report.target_evaluations


def test_a_run_that_begins_again_can_be_resumed(tmp_path: Path) -> None:
    """The checkpoint of another bridge, of however late a step, is not taken for one of its own."""
    for step in (9000, 10_000):
        with pytest.raises(StopTraining):
            train(TARGET, settings(), checkpoint_folder=tmp_path, should_stop=map((9).__lt__, count()).__next__)
        stored = latest_checkpoint(tmp_path)
        assert stored is not None
        assert 0 < stored.step < 20
        other = {**stored.tensors, "bridge.other": torch.zeros(1)}
        write_checkpoint(tmp_path, Checkpoint(step, other, stored.record))


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    train(TARGET, settings(), checkpoint_folder=tmp_path)
    newest = max(tmp_path.glob("checkpoint-*"))
    newest.write_bytes(newest.read_bytes()[:100])
    stored = latest_checkpoint(tmp_path)
    assert stored is not None
    assert stored.step < 20


def test_metrics_tell_the_stage_and_the_fraction() -> None:
    seen: list[Metrics] = []
    train(TARGET, settings(), on_metrics=seen.append)
    assert seen[0].stage == "precondition"
    assert seen[-1].stage == "evaluate"
    assert seen[-1].fraction == 1.0
    trained = [m for m in seen if m.stage == "train"]
    assert trained[-1].step == 20
    assert trained[-1].elbo == pytest.approx(0.0, abs=5.0)


def test_the_preconditioner_tells_how_far_it_is() -> None:
    seen: list[Metrics] = []
    ticks = count()
    changes = {"precondition": Precondition.GAUSSIAN, "budget": Budget(seconds=100.0)}
    train(TARGET, settings(**changes), on_metrics=seen.append, clock=lambda: float(next(ticks)))
    told = [m.fraction for m in seen if m.stage == "precondition"]
    assert len(told) > 2
    assert told == sorted(told)
    assert told[-1] > 0.0


def test_seconds_are_counted_on_the_given_clock() -> None:
    ticks = count()
    sampler = train(TARGET, settings(budget=Budget(seconds=100.0)), clock=lambda: float(next(ticks)))
    assert sampler.report.times.precondition_seconds + sampler.report.times.train_seconds == pytest.approx(100, abs=10)


class _Nowhere(AutogradTarget):
    """A density that is zero everywhere."""

    dim = 2

    def _log_density(self, x: Tensor) -> Tensor:
        return x.sum(-1) * 0.0 - torch.inf


@pytest.mark.parametrize("precondition", [Precondition.NONE, Precondition.GAUSSIAN])
def test_a_density_without_mass_fails_with_a_reason(precondition: Precondition) -> None:
    with pytest.raises(TrainingFailed, match="finite") as failure:
        train(_Nowhere(), settings(precondition=precondition, budget=Budget(iterations=100)))
    assert failure.value.reason == "NON_FINITE_LOG_DENSITY"


class _HalfLine(AutogradTarget):
    """exp(-x) on x > 0, with a hard edge: paths that end below it have weight zero."""

    dim = 1

    def _log_density(self, x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0, -x[:, 0], -torch.inf)


@pytest.mark.parametrize("loss", [loss for loss in OBJECTIVES if loss is not Loss.FKL])  # no draws to learn from
def test_lost_paths_have_weight_zero_and_are_counted(loss: Loss) -> None:
    report = train(_HalfLine(), settings(loss=loss)).report
    assert 0 < report.non_finite_paths < report.paths
    assert abs(report.log_z) < 6 * report.log_z_se
    assert any("not finite" in warning for warning in report.warnings)


class _Opaque(OpaqueTarget):
    """A standard normal without second derivatives."""

    dim = 2

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return -0.5 * x.square().sum(-1), -x


def test_reparametrised_loss_says_that_the_score_was_constant() -> None:
    report = train(_Opaque(), settings(loss=Loss.RKL_R)).report
    assert any("score" in warning for warning in report.warnings)
