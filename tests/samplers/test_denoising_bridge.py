"""A denoiser as a bridge: its weights with the exact denoiser, its warm start, and what it asks of the target."""

from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.warm_start import Hidden
from gephyra.samplers.counted import CountedTarget
from gephyra.samplers.denoising.bridge import DenoisingBridge, bridge_levels
from gephyra.samplers.denoising.denoiser import Reparametrised
from gephyra.samplers.denoising.exact import GaussianDenoiser
from gephyra.samplers.denoising.prediction import Velocity
from gephyra.samplers.denoising.schedule import VariancePreserving
from gephyra.samplers.noise import NoiseSource
from gephyra.samplers.prior import DiagonalPrior
from gephyra.samplers.report import EuboSource, Metrics
from gephyra.samplers.run import StopTraining
from gephyra.samplers.session import train
from gephyra.samplers.settings import Budget, Method, TrainingSettings
from gephyra.samplers.simulate import simulate, simulate_backward
from gephyra.samplers.weigh import log_weights
from gephyra.targets.gaussian import Gaussian
from tests.samplers.bridges import random_bridge
from tests.samplers.test_warm import both_sides, draws, rows, settings

NORMAL = Gaussian([0.5, -0.5], [0.8, 1.2])


def exact_bridge(steps: int) -> DenoisingBridge:
    """With the denoiser of the target itself, seen from a prior of another mean and width."""
    prior = DiagonalPrior(2, 2.0)
    with torch.no_grad():
        prior.mean.fill_(1.0)
    mean, variance = (torch.tensor([0.5, -0.5]) - 1.0) / 2.0, (torch.tensor([0.8, 1.2]) / 2.0).square()
    model = Reparametrised(GaussianDenoiser(mean, variance), Velocity(), VariancePreserving())
    return DenoisingBridge(prior, model, bridge_levels(steps)).double()


def both_bounds(steps: int) -> tuple[Tensor, Tensor]:
    bridge, noise = exact_bridge(steps), NoiseSource(0, 0, dtype=torch.float64)
    with torch.no_grad():
        forward = log_weights(bridge, simulate(bridge, NORMAL, noise.normal((bridge.noise_rows, 4000, 2))))
        end = NORMAL.sample(4000, torch.Generator().manual_seed(0)).double()
        back = simulate_backward(bridge, NORMAL, end, noise.normal((1 + steps, 4000, 2), "back"))
        return forward, log_weights(bridge, back)


def test_with_the_exact_denoiser_both_bounds_close_in_on_log_z_as_steps_grow() -> None:
    """Twice the steps take a quarter of the gap away at least: the widest steps, at the ends, shrink more slowly."""
    gaps = []
    for steps in (16, 32, 64, 128):
        forward, backward = both_bounds(steps)
        assert float(forward.mean()) < 0.0 < float(backward.mean())
        gaps.append(float(backward.mean() - forward.mean()))
    assert gaps[-1] < 0.1
    assert all(later < 0.75 * earlier for earlier, later in pairwise(gaps))


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_only_the_ends_of_paths_are_asked_of_the_target(steps: int) -> None:
    bridge, target = random_bridge(Method.DDPM, 2, steps=steps, networks=0.2), CountedTarget(NORMAL)
    with torch.no_grad():
        simulate(bridge, target, NoiseSource(0, 0).normal((bridge.noise_rows, 16, 2)))
    # The walk asks for its first point, too, whatever the bridge.
    assert target.evaluations == 2 * 16


@pytest.mark.slow
def test_a_warm_start_is_denoising_and_costs_next_to_nothing() -> None:
    seen: list[Metrics] = []
    chosen = settings(method=Method.DDPM, budget=Budget(iterations=900), steps=16)
    sampler = train(Hidden(NORMAL), chosen, samples=rows(), on_metrics=seen.append, clock=map(float, count()).__next__)
    warm = [metrics for metrics in seen if metrics.stage == "warm-start"]
    # To the first step beyond a third of the budget; 16 paths were looked at twice, at two evaluations each.
    assert (warm[-1].step, warm[-1].target_evaluations) == (301, 2 * 2 * 16)
    assert sampler.report.eubo_source is EuboSource.GIVEN
    both_sides(sampler.report)
    assert sampler.report.elbo > -0.5


def test_without_draws_of_the_target_the_report_says_what_cannot_be_seen() -> None:
    alone = train(Hidden(NORMAL), settings(method=Method.DDPM)).report
    warm = train(Hidden(NORMAL), settings(method=Method.DDPM), samples=rows()).report
    assert any("Give samples" in warning for warning in alone.warnings)
    assert not any("Give samples" in warning for warning in warm.warnings)


def test_stopping_and_resuming_is_exact(tmp_path: Path) -> None:
    """Before and after a judgement, and after the loss has taken over."""
    chosen, given = settings(method=Method.DDPM, budget=Budget(iterations=700)), rows()
    whole = train(Hidden(NORMAL), chosen, samples=given)
    for limit in (90, 140, 60):
        stop = map(limit.__lt__, count()).__next__
        with pytest.raises(StopTraining):
            train(Hidden(NORMAL), chosen, samples=given, checkpoint_folder=tmp_path, should_stop=stop)
    resumed = train(Hidden(NORMAL), chosen, samples=given, checkpoint_folder=tmp_path)
    assert torch.equal(draws(whole), draws(resumed))
    assert replace(whole.report, times=resumed.report.times) == resumed.report


def test_the_prior_of_a_preconditioner_is_where_noise_ends() -> None:
    """A mixture is replaced by the Gaussian with its moments."""
    chosen = TrainingSettings(method=Method.DDPM, budget=Budget(iterations=400), steps=8, width=8, batch_size=64)
    report = train(Hidden(NORMAL), chosen, samples=rows()).report
    both_sides(report)
