"""Bounds and flow densities against densities that are known."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.density import Logistic, Truncated, Uniform
from gephyra.samplers.denoising.exact import GaussianDenoiser
from gephyra.samplers.denoising.flow import FrozenProbes, ProbabilityFlow
from gephyra.samplers.denoising.likelihood import NegativeLogLikelihood, baseline_bound, variational_bound
from gephyra.samplers.denoising.reconstruction import Continuous, Dequantised, Discrete, cell_widths, level_index
from gephyra.samplers.denoising.sampling import LowDiscrepancy, NoiseLevels
from gephyra.samplers.noise import NoiseSource
from tests.samplers.denoising.exact import DENOISER, ENTROPY, STANDARD, TARGET, VARIANCE, draws, normal
from tests.statistics import assert_mean_equals, standard_errors

NOISE = NoiseSource(0, 0, dtype=torch.float64)
FINE = Logistic(-math.log(VARIANCE), 1.5)
"""Levels where the four modes' widths are seen."""
COVARIANCE = torch.tensor([[1.0, 0.3, 0.0], [0.3, 0.5, -0.2], [0.0, -0.2, 2.0]], dtype=torch.float64)
GAUSSIAN = GaussianDenoiser(torch.tensor([0.5, -1.0, 0.0]), COVARIANCE)


def _even(low: float, high: float) -> NoiseLevels:
    return NoiseLevels(Uniform(low, high), LowDiscrepancy())


@pytest.mark.statistical
def test_the_whole_bound_of_the_exact_denoiser_is_the_negative_log_density() -> None:
    x = draws("bound", 40_000)
    bound = variational_bound(DENOISER, x, _even(-13.3, 13.8), Continuous(), NOISE, 1)
    assert_mean_equals(bound.nats + TARGET.log_density(x), 0.0)
    assert abs(bound.mean - ENTROPY) < standard_errors() * bound.standard_error


@pytest.mark.statistical
def test_the_bound_relative_to_a_gaussian_has_a_fifth_of_the_noise() -> None:
    x = draws("baseline", 160_000)
    bound = baseline_bound(DENOISER, x, STANDARD, FINE, NOISE, 1)
    assert_mean_equals(bound.nats + TARGET.log_density(x), 0.0)
    assert abs(bound.mean - ENTROPY) < standard_errors() * bound.standard_error
    assert float((bound.nats + TARGET.log_density(x)).std()) <= 5.0


@pytest.mark.statistical
def test_levels_that_end_too_early_cost_what_they_hide() -> None:
    """Up to lambda = 5 the width of a mode is not resolved: about 0.13 nats (denoising.md, 1.6); up to 10 all is seen.

    Relative to the exact values, by the same noise in both bounds and a baseline that takes out most of it.
    """
    x = draws("early", 40_000)
    short = baseline_bound(DENOISER, x, STANDARD, Truncated(FINE, -5.0, 5.0), NOISE, 1)
    gap = short.nats + TARGET.log_density(x)
    # Beyond the end the model is the baseline's denoiser, whose error is all there: 1/2 the integral of the difference.
    assert float(gap.mean()) > 0.05
    whole = variational_bound(DENOISER, x, _even(-5.0, 5.0), Continuous(), NOISE, 1).nats + TARGET.log_density(x)
    assert float(whole.mean()) == pytest.approx(0.13, abs=standard_errors() * float(whole.std()) / 200)


def test_a_gaussian_is_its_own_baseline_without_noise() -> None:
    x = normal("own", 50, 3)
    bound = baseline_bound(GAUSSIAN, x, GAUSSIAN, Logistic(0.0, 2.0), NOISE, 2)
    assert torch.allclose(bound.nats, -GAUSSIAN.log_density(x), rtol=1e-12)
    assert torch.equal(bound.row_error, torch.zeros(50, dtype=torch.float64))


@pytest.mark.statistical
@pytest.mark.parametrize("steps", [None, 400])
def test_a_gaussians_bound_holds_row_by_row(steps: int | None) -> None:
    """T steps pay for their number: their bound lies above by a term of order 1/T."""
    x = normal("rows", 200, 3)
    levels = NoiseLevels(Uniform(-12.0, 12.0), LowDiscrepancy(), steps=steps)
    bound = variational_bound(GAUSSIAN, x, levels, Continuous(), NOISE, 64)
    excess = bound.nats + GAUSSIAN.log_density(x)
    expected = 0.0
    if steps is not None:
        grid = torch.linspace(-12.0, 12.0, steps + 1, dtype=torch.float64)
        errors = GAUSSIAN.expected_error(grid)
        expected = float(0.5 * (torch.expm1(grid.diff()) * errors[:-1]).sum()) - 0.5 * float(
            torch.trapezoid(errors, grid)
        )
    deviation = excess.mean() - expected
    assert abs(float(deviation)) < standard_errors() * float(excess.std()) / math.sqrt(200)
    assert float((excess / bound.row_error).std()) < 2.0


def test_a_single_draw_says_nothing_of_a_rows_error() -> None:
    assert (
        variational_bound(GAUSSIAN, normal("one", 4, 3), _even(-9, 9), Continuous(), NOISE, 1).row_error.isnan().all()
    )


@pytest.mark.statistical
def test_dequantised_levels_have_the_mean_density_of_their_cell() -> None:
    width, x = torch.tensor([0.5, 0.2, 1.0], dtype=torch.float64), normal("cells", 30_000, 3)
    reconstruction = Dequantised(width)
    bound = variational_bound(GAUSSIAN, x, _even(-11.0, 11.0), reconstruction, NOISE, 1)
    # The mean of a quadratic over a cell: half the trace of precision times width^2 / 12.
    precision = torch.linalg.inv(COVARIANCE)
    expected = -GAUSSIAN.log_density(x) + 0.5 * float((precision.diagonal() * width.square() / 12).sum())
    assert_mean_equals(bound.nats - expected + float(width.log().sum()), 0.0)
    lifted = reconstruction.lift(x[:2], torch.tensor([[0.0] * 3, [0.5] * 3]))
    assert torch.allclose(lifted, torch.stack([x[0] - width / 2, x[1]]))


LEVELS = torch.tensor([[-1.0, 0.0, 2.0], [0.5, 1.5, math.nan]], dtype=torch.float64)


@pytest.mark.parametrize("log_snr", [-3.0, 0.0, 3.0])
def test_discrete_probabilities_add_up_to_one(log_snr: float) -> None:
    x = torch.cartesian_prod(LEVELS[0], LEVELS[1, :2])
    # The same noised point, reached from every x by its own noise.
    eps = (torch.tensor([0.3, 0.9], dtype=torch.float64) - x) * math.exp(0.5 * log_snr)
    assert float((-Discrete(LEVELS).nats(x, eps, log_snr)).exp().sum()) == pytest.approx(1.0, rel=1e-12)


def test_cells_have_the_least_distance_between_levels() -> None:
    assert cell_widths(LEVELS).tolist() == [1.0, 1.0]
    assert cell_widths(torch.tensor([[0.0, 0.25, 1.0], [3.0, math.nan, math.nan]])).tolist() == [0.25, 1.0]
    assert cell_widths(torch.tensor([[3.0]])).tolist() == [1.0]


def test_a_value_between_levels_is_refused() -> None:
    assert level_index(torch.tensor([[2.0, 0.5], [-1.0, 1.5]]), LEVELS).tolist() == [[2, 0], [0, 1]]
    with pytest.raises(ValueError, match=r"row 1, column 1: 0\.75\d* is none of the levels"):
        level_index(torch.tensor([[2.0, 0.5], [-1.0, 0.75]]), LEVELS)
    with pytest.raises(ValueError, match="widths of cells must be positive"):
        Dequantised(torch.tensor([1.0, 0.0]))


def test_units() -> None:
    """8-bit data mapped to [-1, 1]: seven bits a dimension more (Song et al. 2021)."""
    rows = NegativeLogLikelihood(torch.tensor([1.0, 3.0], dtype=torch.float64), torch.zeros(2), 4)
    assert rows.bits_per_dim == pytest.approx(0.5 / math.log(2))
    assert rows.plus(4 * math.log(128)).bits_per_dim - rows.bits_per_dim == pytest.approx(7.0)
    assert rows.standard_error == pytest.approx(1.0)


def test_open_ends_are_refused() -> None:
    with pytest.raises(ValueError, match="truncate the density"):
        variational_bound(GAUSSIAN, normal("open", 2, 3), NoiseLevels(FINE, LowDiscrepancy()), Continuous(), NOISE, 1)


def _flow_errors(steps: int, count: int) -> Tensor:
    x = draws("flow", count)
    return ProbabilityFlow(DENOISER, -12.0, 14.0, steps).log_density(x) - TARGET.log_density(x)


def test_the_flow_has_the_density_of_the_data() -> None:
    """Root mean square errors in nats: 4e-4 with 64 steps, 1e-2 with 32 (denoising.md, 1.6)."""
    assert float(_flow_errors(64, 1000).square().mean().sqrt()) <= 1e-3


def test_the_flow_is_exact_for_a_gaussian() -> None:
    """Up to what the ends leave out, exp(-16) of log densities of order one, and the steps' fourth order."""
    x, centred = normal("gaussian flow", 20, 3), GaussianDenoiser(torch.zeros(3), COVARIANCE)
    flow = ProbabilityFlow(centred, -16.0, 16.0, 200)
    assert (flow.log_density(x) - centred.log_density(x)).abs().max() < 2e-5


def test_sampling_inverts_the_flow() -> None:
    noise = normal("inverse", 50, 2)
    flow = ProbabilityFlow(DENOISER, -12.0, 14.0, 200)
    assert (flow.noise_of(flow.sample(noise)) - noise).abs().max() < 1e-3


def test_the_flows_density_has_a_gradient() -> None:
    """Of the computed number itself, not only of the density it stands for."""
    x = draws("slope", 3).requires_grad_()
    flow = ProbabilityFlow(DENOISER, -8.0, 8.0, 8)
    (score,) = torch.autograd.grad(flow.log_density(x).sum(), x)
    step = 1e-5
    for d in range(2):
        shift = torch.zeros(2, dtype=torch.float64).index_fill_(0, torch.tensor(d), step)
        rise = flow.log_density(x.detach() + shift) - flow.log_density(x.detach() - shift)
        assert torch.allclose(score[:, d], rise / (2 * step), rtol=1e-5, atol=1e-6)


def test_probes_are_frozen_and_exact_where_coordinates_do_not_mix() -> None:
    diagonal = GaussianDenoiser(torch.zeros(3), torch.tensor([0.5, 1.0, 2.0]))
    x = normal("probes", 10, 3)
    exact = ProbabilityFlow(diagonal, -9.0, 9.0, 20).log_density(x)
    probed = ProbabilityFlow(diagonal, -9.0, 9.0, 20, FrozenProbes(3, 2)).log_density(x)
    assert torch.allclose(exact, probed, rtol=1e-12)
    mixing = [ProbabilityFlow(GAUSSIAN, -9.0, 9.0, 20, FrozenProbes(3, 2, seed)) for seed in (0, 0, 5)]
    one, same, other = (flow.log_density(rows) for flow, rows in zip(mixing, (x, x.flip(0), x), strict=True))
    assert torch.allclose(one, same.flip(0), rtol=1e-12)
    assert not torch.allclose(one, other, rtol=1e-6)


def test_wrong_flows_are_refused() -> None:
    wide = GaussianDenoiser(torch.zeros(101), torch.ones(101))
    with pytest.raises(ValueError, match="at most 100 dimensions, got 101: use probes"):
        ProbabilityFlow(wide, -9.0, 9.0)
    with pytest.raises(ValueError, match="at least one step from low to a higher high"):
        ProbabilityFlow(GAUSSIAN, 9.0, 9.0)
    with pytest.raises(ValueError, match="count of probes must be at least 1"):
        FrozenProbes(3, 0)
