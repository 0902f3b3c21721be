"""What a run can be asked beside its method and loss: goals, averages, precisions, earlier samplers, exact resume."""

from itertools import count
from pathlib import Path

import pytest
import torch

from gephyra.samplers.algorithms import build
from gephyra.samplers.algorithms.parts import Ingredients
from gephyra.samplers.finish import REPORT_PATHS
from gephyra.samplers.objectives import OBJECTIVES
from gephyra.samplers.optimise import Optimiser
from gephyra.samplers.random import torch_generator
from gephyra.samplers.report import Metrics, Served
from gephyra.samplers.run import StopTraining, TrainingFailed
from gephyra.samplers.sampler import Sampler
from gephyra.samplers.session import train
from gephyra.samplers.settings import Budget, Goal, Loss, Method, Precision, Precondition
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from tests.samplers.bridges import objective_of
from tests.samplers.test_session import TARGET, draws, settings

TWO_MODES = GaussianMixture([[-1.5, 0.0], [1.5, 0.5]], [[0.6, 0.6], [0.6, 0.6]], [0.4, 0.6])


@pytest.mark.parametrize("loss", list(OBJECTIVES))
def test_every_loss_resumes_exactly(loss: Loss, tmp_path: Path) -> None:
    """k steps, a stop, and the other N - k give the parameters of N steps, bit for bit, averages included."""
    chosen = settings(loss=loss, ema=0.8)
    whole = train(TARGET, chosen)
    for limit in (1, 9):
        with pytest.raises(StopTraining):
            train(TARGET, chosen, checkpoint_folder=tmp_path, should_stop=map(limit.__lt__, count()).__next__)
    resumed = train(TARGET, chosen, checkpoint_folder=tmp_path)
    for name, value in whole.bridge.state_dict().items():
        assert torch.equal(value, resumed.bridge.state_dict()[name]), name
    assert torch.equal(draws(whole), draws(resumed))
    assert whole.report.target_evaluations == resumed.report.target_evaluations


def test_a_goal_ends_the_run_early() -> None:
    seen: list[Metrics] = []
    train(TARGET, settings(goal=Goal(gap=0.2), budget=Budget(iterations=400), batch_size=128), on_metrics=seen.append)
    assert 16 <= seen[-1].step < 400


def test_recent_paths_are_kept_over_a_resume(tmp_path: Path) -> None:
    """What a goal is held against, and what is shown, does not begin anew."""
    told: list[Metrics] = []
    train(TARGET, settings(), on_metrics=told.append)
    with pytest.raises(StopTraining):
        train(TARGET, settings(), checkpoint_folder=tmp_path, should_stop=map((15).__lt__, count()).__next__)
    again: list[Metrics] = []
    train(TARGET, settings(), checkpoint_folder=tmp_path, on_metrics=again.append)
    first, second = ([m for m in seen if m.stage == "train"][-1] for seen in (told, again))
    assert (first.step, first.elbo, first.log_z, first.ess_fraction) == (
        second.step, second.elbo, second.log_z, second.ess_fraction
    )  # fmt: skip


def test_the_average_is_that_of_the_parameters() -> None:
    chosen = settings(ema=0.6)
    bridge = build(Ingredients(2, chosen, torch_generator("init", 0)))
    optimiser = Optimiser(bridge, objective_of(bridge, chosen.loss), chosen)
    average = {name: p.detach().clone() for name, p in bridge.named_parameters()}
    for step in range(8):
        optimiser.advance(TARGET, step / 8)
        decay = min(0.6, (2.0 + step) / (11.0 + step))
        for name, p in bridge.named_parameters():
            average[name] = decay * average[name] + (1.0 - decay) * p.detach()
    optimiser.settle()
    for name, p in bridge.named_parameters():
        assert torch.allclose(p, average[name], rtol=1e-5, atol=1e-6), name


def test_a_budget_of_target_evaluations_ends_within_a_step() -> None:
    seen: list[Metrics] = []
    chosen = settings(budget=Budget(target_evaluations=3000))
    report = train(TARGET, chosen, on_metrics=seen.append).report
    spent = [m.target_evaluations for m in seen if m.stage == "train"][-1]
    a_step = chosen.batch_size * (chosen.steps + 1)
    assert 3000 <= spent < 3000 + a_step
    assert report.target_evaluations >= spent + REPORT_PATHS * (chosen.steps + 1)


def test_coordinates_take_at_most_half_of_a_budget_of_target_evaluations() -> None:
    seen: list[Metrics] = []
    train(
        TWO_MODES,
        settings(budget=Budget(target_evaluations=60_000), precondition=Precondition.GAUSSIAN),
        on_metrics=seen.append,
    )
    first = next(m for m in seen if m.stage == "train")
    # The comparison of the starts, and one step, come on top.
    assert first.target_evaluations - first.step * 160 < 30_000 + 2 * 4096 + 64


@pytest.mark.parametrize("method", [Method.DBS, Method.DDS])
def test_double_precision_runs(method: Method, tmp_path: Path) -> None:
    sampler = train(TARGET, settings(method=method, precision=Precision.FLOAT64, precondition=Precondition.DIAGONAL))
    assert {p.dtype for p in sampler.bridge.parameters()} == {torch.float64}
    assert abs(sampler.report.log_z) < 6 * sampler.report.log_z_se + 1e-3
    sampler.save(tmp_path / "double.safetensors")
    stored = Sampler.load(tmp_path / "double.safetensors", TARGET)
    assert torch.equal(draws(stored), draws(sampler))


CORRELATED = Gaussian([0.5, -0.5], [[1.0, 0.95], [0.95, 1.0]])


@pytest.fixture(scope="module")
def earlier() -> Sampler:
    """Of a target that a diagonal Gaussian fits badly, so that the bridge wins."""
    chosen = settings(budget=Budget(iterations=200), precondition=Precondition.DIAGONAL, batch_size=64)
    return train(CORRELATED, chosen)


def test_a_run_goes_on_from_an_earlier_sampler(earlier: Sampler) -> None:
    assert earlier.report.served is Served.BRIDGE
    seen: list[Metrics] = []
    chosen = settings(budget=Budget(iterations=60), precondition=Precondition.DIAGONAL, seed=1)
    later = train(CORRELATED, chosen, start=earlier, on_metrics=seen.append)
    error = later.report.elbo_se + earlier.report.elbo_se
    assert later.report.elbo >= earlier.report.elbo - 4 * error
    assert {m.stage for m in seen} == {"train", "evaluate"}
    assert torch.equal(later.coordinates.shift, earlier.coordinates.shift)
    assert later.report.precondition == earlier.report.precondition
    a_step = chosen.batch_size * (chosen.steps + 1)
    assert [m.target_evaluations for m in seen if m.stage == "train"][-1] == 60 * a_step


def test_no_steps_from_an_earlier_sampler_leave_its_bridge(earlier: Sampler) -> None:
    chosen = settings(budget=Budget(iterations=1), learning_rate=1e-12, precondition=Precondition.DIAGONAL)
    later = train(CORRELATED, chosen, start=earlier)
    for name, value in earlier.bridge.state_dict().items():
        assert torch.allclose(later.bridge.state_dict()[name], value, atol=1e-9), name


@pytest.mark.parametrize(("name", "value"), [("method", Method.CMCD), ("steps", 5), ("width", 9)])
def test_a_start_that_does_not_fit_is_named(earlier: Sampler, name: str, value: object) -> None:
    with pytest.raises(TrainingFailed, match=f"{name}=") as failure:
        train(CORRELATED, settings(**{name: value}), start=earlier)
    assert failure.value.reason == "INCONSISTENT_SETTINGS"


def test_a_start_of_another_dimension_is_refused(earlier: Sampler) -> None:
    with pytest.raises(TrainingFailed, match="dimension 2, the target has 3"):
        train(Gaussian([0.0] * 3, [1.0] * 3), settings(), start=earlier)


@pytest.fixture(scope="module")
def spoilt() -> Sampler:
    """One step with an absurd learning rate: what is served is the preconditioner's Gaussian."""
    return train(TARGET, settings(budget=Budget(iterations=1), learning_rate=0.9, precondition=Precondition.DIAGONAL))


def test_a_bridge_that_lost_is_not_served(spoilt: Sampler) -> None:
    report = spoilt.report
    assert report.served is Served.BASELINE
    assert report.precondition.elbo is not None
    # The preconditioner's own estimate is from 4096 draws, whose log weights have a spread of about sqrt(dim / 2).
    assert report.elbo == pytest.approx(report.precondition.elbo, abs=6 / 4096**0.5)
    assert any("training did not pay" in warning for warning in report.warnings)
    assert abs(report.log_z) < 6 * report.log_z_se + 1e-3


def test_a_served_baseline_says_so_again(spoilt: Sampler) -> None:
    fresh = spoilt.estimate(2000, seed=3)
    assert fresh.served is Served.BASELINE
    assert any("training did not pay" in warning for warning in fresh.warnings)


def test_a_run_goes_on_from_the_coordinates_of_a_served_baseline(spoilt: Sampler) -> None:
    later = train(TARGET, settings(precondition=Precondition.DIAGONAL), start=spoilt)
    assert torch.equal(later.coordinates.shift, spoilt.coordinates.shift)
    assert later.report.elbo >= spoilt.report.elbo - 6 * spoilt.report.elbo_se - 1e-3
