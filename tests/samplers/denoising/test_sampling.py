"""Noise levels: every source leaves the objective what it is, and placements only lower its noise."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.density import Cosine, Histogram, Logistic, Normal, Truncated, Uniform
from gephyra.samplers.denoising.sampling import (
    AdaptiveHistogram,
    Independent,
    Levels,
    LowDiscrepancy,
    NoiseLevels,
    Placement,
    Stratified,
)
from gephyra.samplers.random import keyed_generator
from tests.statistics import FALSE_ALARM_RATE, assert_mean_equals, gof_pvalue_1d

LOW, HIGH = -6.0, 9.0
NATIVE = Truncated(Cosine(), LOW, HIGH)
PLACEMENTS: dict[str, Placement] = {
    "independent": Independent(),
    "low discrepancy": LowDiscrepancy(),
    "stratified": Stratified(),
}
PROPOSALS = {
    "native": None,
    "uniform": Uniform(LOW, HIGH),
    "lognormal": Truncated(Normal(2.4, 2.4), LOW, HIGH),
    "logistic": Truncated(Logistic(3.0, 1.5), LOW, HIGH),
    "histogram": Histogram(torch.tensor([LOW, 0.0, 4.0, HIGH]), torch.tensor([1.0, 2.0, 1.0])),
    "adaptive": AdaptiveHistogram(LOW, HIGH, bins=20),
}


def _uniform(stream: str, count: int) -> Tensor:
    return torch.from_numpy(keyed_generator(stream, 0).random(count))


@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
def test_a_placed_share_is_uniform(placement: Placement) -> None:
    """Over many batches; one share a batch, since those of a batch depend on each other."""
    batches = _uniform("placement", 4000).view(500, 8)
    shares = torch.stack([placement.place(batch) for batch in batches])
    chosen = shares[torch.arange(500), torch.arange(500) % 8]
    assert gof_pvalue_1d(chosen, lambda x: x.clip(0, 1)) > FALSE_ALARM_RATE
    assert bool(((shares >= 0) & (shares < 1)).all())


@pytest.mark.parametrize("name", ["low discrepancy", "stratified"])
def test_placed_shares_fill_every_part_once(name: str) -> None:
    shares = PLACEMENTS[name].place(_uniform("parts", 64))
    assert sorted((shares * 64).floor().tolist()) == list(range(64))


def _estimate(levels: Levels) -> Tensor:
    """Terms whose mean is the integral of exp(-lambda / 5) over the range."""
    return (-levels.log_snr / 5).exp() * levels.inverse_density * levels.importance


@pytest.mark.statistical
@pytest.mark.parametrize("proposal", PROPOSALS)
def test_the_objective_does_not_depend_on_the_proposal(proposal: str) -> None:
    source = NoiseLevels(NATIVE, Independent(), PROPOSALS[proposal])
    terms = _estimate(source.sample(_uniform(f"levels/{proposal}", 20_000)))
    assert_mean_equals(terms, 5 * (math.exp(-LOW / 5) - math.exp(-HIGH / 5)))


@pytest.mark.parametrize("proposal", PROPOSALS)
def test_evenly_placed_levels_obey_koksma(proposal: str) -> None:
    """Their error is at most the integrand's variation over their number."""
    count = 4096
    source = NoiseLevels(NATIVE, LowDiscrepancy(), PROPOSALS[proposal])
    mean = float(_estimate(source.sample(_uniform("even", count))).mean())
    fine = torch.linspace(LOW, HIGH, 1 << 16, dtype=torch.float64)
    integrand = (-fine / 5 - (PROPOSALS[proposal] or NATIVE).log_density(fine)).exp()
    variation = float(integrand.diff().abs().sum())
    assert abs(mean - 5 * (math.exp(-LOW / 5) - math.exp(-HIGH / 5))) <= variation / count


@pytest.mark.parametrize("proposal", PROPOSALS)
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_discrete_levels_give_the_sum_over_steps(steps: int, proposal: str) -> None:
    """E of T expm1(gap) importance f(level) is the sum of expm1(gap) f over all steps, whatever q."""
    source = NoiseLevels(NATIVE, LowDiscrepancy(), PROPOSALS[proposal], steps)
    grid = NATIVE.quantile(torch.linspace(0, 1, steps + 1, dtype=torch.float64))
    expected = float((torch.expm1(grid.diff()) * (grid[:-1] / 7).sin().add(2)).sum())
    levels = source.sample(_uniform("discrete", 1 << 16))
    mean = float((levels.inverse_density * levels.importance * (levels.log_snr / 7).sin().add(2)).mean())
    assert set(levels.log_snr.tolist()) <= set(grid[:-1].tolist())
    assert mean == pytest.approx(expected, rel=0.01)


def test_many_steps_are_continuous_time() -> None:
    """Up to a relative error of about half the gap between neighbours."""
    steps = 1 << 16
    levels = NoiseLevels(NATIVE, LowDiscrepancy(), steps=steps).sample(_uniform("many", 512))
    gap, density = levels.inverse_density / steps, NATIVE.log_density(levels.log_snr).exp()
    assert bool(((levels.inverse_density * density - 1).abs() <= gap).all())


def test_an_adaptive_proposal_follows_the_loss() -> None:
    """Its density becomes proportional to w E|error|^2, here a bump, above the floor."""
    adaptive = AdaptiveHistogram(LOW, HIGH, bins=30, floor=0.1)
    source = NoiseLevels(NATIVE, LowDiscrepancy(), adaptive)
    for n in range(60):
        levels = source.sample(torch.from_numpy(keyed_generator("adaptive", 0, n).random(256)))
        bump = (-0.5 * (levels.log_snr - 2).square()).exp()
        adaptive.note(levels, bump * levels.inverse_density * levels.importance)
    centres = torch.linspace(LOW, HIGH, 31, dtype=torch.float64).unfold(0, 2, 1).mean(1)
    expected = 0.9 * (-0.5 * (centres - 2).square()).exp() / math.sqrt(2 * math.pi) + 0.1 / (HIGH - LOW)
    assert (adaptive.log_density(centres).exp() - expected).abs().max() < 0.03


def test_an_adaptive_proposal_goes_on_from_its_memory() -> None:
    one, other = AdaptiveHistogram(LOW, HIGH), AdaptiveHistogram(LOW, HIGH)
    levels = NoiseLevels(NATIVE, Stratified(), one).sample(_uniform("memory", 512))
    one.note(levels, levels.log_snr.abs() * levels.importance)
    other.restore(one.tensors())
    assert torch.equal(one.quantile(levels.importance / 9), other.quantile(levels.importance / 9))
    with pytest.raises(ValueError, match="expected 20 bins, got 100"):
        AdaptiveHistogram(LOW, HIGH, bins=20).restore(one.tensors())


def test_wrong_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        NoiseLevels(NATIVE, Independent(), steps=0)
    with pytest.raises(ValueError, match="truncate the density"):
        NoiseLevels(Cosine(), Independent(), steps=10)
