"""Training with the score of a target at the rows: what it gains, what it says, how it resumes and refuses."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gephyra.samplers.counted import CountedTarget
from gephyra.samplers.denoising.session import train_denoiser
from gephyra.samplers.denoising.settings import DenoisingSettings, Head
from gephyra.samplers.run import StopTraining, TrainingFailed
from gephyra.samplers.settings import Budget
from gephyra.targets.base import OpaqueTarget, Target
from gephyra.targets.gaussian import GaussianMixture
from tests.samplers.denoising.exact import MEANS, SCALES, TARGET, draws

QUICK = DenoisingSettings(budget=Budget(iterations=60), width=24, blocks=1, batch_size=64, solver_steps=4)
NAMES = ("a", "b")


class HalfSpace(OpaqueTarget):
    """The mixture, with a score that is no number left of -1.3."""

    dim = 2

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_density, score = TARGET.log_density_and_score(x)
        return log_density, torch.where(x[:, :1] < -1.3, math.nan, score)


def test_a_run_asks_for_each_score_once_and_says_so() -> None:
    target = CountedTarget(TARGET)
    sampler = train_denoiser(draws("count", 300).float(), NAMES, QUICK, target=target)
    assert target.evaluations == sampler.report.target_evaluations == 300
    assert sampler.report.warnings == ()
    given = train_denoiser(
        draws("count", 300).float(), NAMES, QUICK, scores=TARGET.log_density_and_score(draws("count", 300))[1]
    )
    assert given.report.target_evaluations == 0
    assert given.report.loss == pytest.approx(sampler.report.loss, rel=1e-3)
    plain = train_denoiser(draws("count", 300).float(), NAMES, QUICK)
    assert plain.report.loss != sampler.report.loss


def test_rows_that_are_no_draws_are_warned_of() -> None:
    report = train_denoiser(draws("count", 300) + 1.0, NAMES, QUICK, target=TARGET).report
    assert any("do not look like independent draws" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("data", "changes", "given", "words"),
    [
        (draws("count", 60), {}, {"target": GaussianMixture(MEANS[:, :1], SCALES[:, :1])}, "dimension 1, and the data"),
        (draws("count", 200), {}, {"target": HalfSpace()}, r"row \d+: the score is not finite"),
        (draws("count", 60), {}, {"scores": torch.zeros(59, 2)}, r"shape of the data, \(60, 2\), got \(59, 2\)"),
        (draws("count", 60), {}, {"scores": torch.zeros(60, 2), "target": TARGET}, "not both"),
        (draws("count", 60).round(), {}, {"target": TARGET}, "data on levels have no density"),
        (draws("count", 60).round(), {"head": Head.LEVELS}, {"target": TARGET}, "data on levels have no density"),
    ],
)
def test_what_does_not_go_together_is_refused(data: Tensor, changes: Any, given: Any, words: str) -> None:
    with pytest.raises(TrainingFailed, match=words) as caught:
        train_denoiser(data, NAMES, replace(QUICK, **changes), **given)
    assert caught.value.reason == "UNSUITABLE_DATA"


def test_the_row_at_fault_is_named() -> None:
    data = draws("count", 200)
    data[:, 0].clamp_(min=-1.2)
    data[7, 0] = -1.4
    with pytest.raises(TrainingFailed, match="row 7: the score is not finite"):
        train_denoiser(data, NAMES, QUICK, target=HalfSpace())


def test_a_run_that_was_broken_off_ends_as_the_unbroken_one(tmp_path: Path) -> None:
    data = draws("count", 300)
    whole = train_denoiser(data, NAMES, QUICK, target=TARGET)
    asked = 0

    def stop_at_step_40() -> bool:
        nonlocal asked
        asked += 1
        return asked > 40

    with pytest.raises(StopTraining):
        train_denoiser(data, NAMES, QUICK, target=TARGET, should_stop=stop_at_step_40, checkpoint_folder=tmp_path)
    resumed = train_denoiser(data, NAMES, QUICK, target=TARGET, checkpoint_folder=tmp_path)
    states = zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True)
    assert all(torch.equal(value, other) for value, other in states)


def test_the_evaluation_of_scores_can_be_stopped() -> None:
    target = CountedTarget(TARGET)
    with pytest.raises(StopTraining):
        train_denoiser(draws("stop", 3000), NAMES, QUICK, target=target, should_stop=lambda: target.evaluations > 0)
    assert 0 < target.evaluations < 3000


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_draws_give_a_better_model_with_their_scores(seed: int) -> None:
    """500 draws: negative log likelihood by the flow, of 4000 others, over the density's own on these."""
    settings = replace(QUICK, budget=Budget(iterations=1000), width=64, blocks=3, batch_size=256, seed=seed)
    data, others = draws(f"few/{seed}", 500), draws("others", 4000)
    entropy = float(-TARGET.log_density(others).mean())

    def excess(target: Target | None) -> float:
        sampler = train_denoiser(data, NAMES, settings, target=target)
        return float(-torch.cat([sampler.log_prob(part) for part in others.split(1000)]).mean()) - entropy

    plain, mixed = excess(None), excess(TARGET)
    assert mixed < 0.7 * plain
    assert mixed < 0.1
