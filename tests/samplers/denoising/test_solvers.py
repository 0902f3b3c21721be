"""Solvers: their order on a Gaussian, where everything is linear and known, and their draws on the four modes."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.bridge import DenoisingBridge
from gephyra.samplers.denoising.denoiser import Reparametrised
from gephyra.samplers.denoising.density import Cosine, Truncated, Uniform, quantile_grid
from gephyra.samplers.denoising.exact import GaussianDenoiser
from gephyra.samplers.denoising.kernel import Place, noising, reversal
from gephyra.samplers.denoising.prediction import Velocity
from gephyra.samplers.denoising.schedule import VariancePreserving, preserving
from gephyra.samplers.denoising.solvers import (
    Ancestral,
    Clipped,
    Ddim,
    DpmSolver2M,
    EulerMaruyama,
    Flow,
    Heun,
    Solver,
    Step,
    generate,
    karras_grid,
    noise_rows,
    trajectory,
)
from gephyra.samplers.estimate import estimate
from gephyra.samplers.prior import DiagonalPrior
from gephyra.samplers.simulate import simulate, simulate_backward
from gephyra.samplers.weigh import log_weights
from tests.samplers.denoising.exact import DENOISER, TARGET, draws, normal
from tests.statistics import standard_errors

MEAN, VARIANCE = 0.7, 0.3
GAUSSIAN = GaussianDenoiser(torch.tensor([MEAN], dtype=torch.float64), torch.tensor([VARIANCE], dtype=torch.float64))
LOW, HIGH = -6.0, 6.0
# And the order at which each converges to the flow, or to the law.
FLOWS: dict[str, tuple[Solver, int]] = {
    "ddim": (Ddim(), 1),
    "dpm-solver": (DpmSolver2M(), 2),
    "heun": (Heun(), 2),
    "runge-kutta": (Flow(), 4),
}
NOISY: dict[str, Solver] = {
    "small variance": Ancestral(0.0),
    "large variance": Ancestral(1.0),
    "between": Ancestral(0.4),
    "some fresh noise": Ddim(0.5),
    "euler-maruyama": EulerMaruyama(),
}


def _grid(steps: int) -> Tensor:
    return quantile_grid(Uniform(LOW, HIGH), steps)


def _marginal(log_snr: float) -> tuple[float, float]:
    """Mean and standard deviation of y."""
    place = Place.at(log_snr)
    return place.alpha * MEAN, math.sqrt(place.alpha**2 * VARIANCE + place.sigma**2)


@pytest.mark.parametrize("name", FLOWS)
def test_order_of_a_solver_without_noise(name: str) -> None:
    """The exact flow keeps the number of standard deviations from the mean."""
    solver, order = FLOWS[name]
    start = torch.tensor([[-1.0], [0.5], [2.0]], dtype=torch.float64)
    (first, spread), (last, narrow) = _marginal(LOW), _marginal(HIGH)
    exact = last + narrow * (start - first) / spread
    errors = []
    for steps in (40, 80):
        *_, end = trajectory(GAUSSIAN, solver, _grid(steps), start[None])
        errors.append(float((end - exact).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)
    assert errors[1] < 0.02


def _law(solver: Solver, steps: int) -> tuple[float, float]:
    """Mean and variance of the end: a linear map of independent noises, told by its answers to unit vectors.

    It starts with the law of y there, so that no error is the start's.
    """
    grid = _grid(steps)
    rows, (mean, spread) = noise_rows(solver, grid), _marginal(LOW)
    noise = torch.cat([torch.zeros(rows, 1, 1), torch.eye(rows)[:, :, None]], 1).double()
    noise[0] = mean + spread * noise[0]
    *_, end = trajectory(GAUSSIAN, solver, grid, noise)
    return float(end[0]), float((end[1:] - end[0]).square().sum())


@pytest.mark.parametrize("solver", NOISY.values(), ids=NOISY)
def test_a_noisy_solver_converges_to_the_law(solver: Solver) -> None:
    mean, deviation = _marginal(HIGH)
    errors = []
    for steps in (100, 200):
        reached = _law(solver, steps)
        errors.append((abs(reached[0] - mean), abs(reached[1] - deviation**2)))
    for coarse, fine in zip(*errors, strict=True):
        assert fine < 0.02
        # First order; or exact, as means are where the kernel is one of the exact process, whatever its variance.
        assert coarse / fine > 1.7 or fine < 1e-12


def test_ddim_with_all_noise_fresh_is_ancestral() -> None:
    grid, noise = _grid(7), normal("eta", 8, 5, 1)
    ours, theirs = (generate(GAUSSIAN, solver, grid, noise) for solver in (Ddim(1.0), Ancestral(0.0)))
    assert torch.allclose(ours, theirs, rtol=1e-12)


def test_levels_as_plain_numbers() -> None:
    for log_snr in (-40.0, -3.0, 0.0, 7.0, 40.0):
        level, place = preserving(torch.tensor(log_snr, dtype=torch.float64)), Place.at(log_snr)
        assert place.alpha == pytest.approx(float(level.alpha), rel=1e-14)
        assert place.sigma == pytest.approx(float(level.sigma), rel=1e-14)


def test_kernels_compose_to_the_marginals() -> None:
    """Noising the cleaner marginal gives the noisier one; and Bayes' rule with known data."""
    here, there = Place.at(-1.0), Place.at(0.5)
    x, y = normal("bayes", 2, 5, 3)
    to_noisier = noising(torch.full((1, 1), there.alpha * 2.0), there, here)
    assert float(to_noisier.mean) == pytest.approx(here.alpha * 2.0)
    assert to_noisier.variance + (here.alpha / there.alpha * there.sigma) ** 2 == pytest.approx(here.sigma**2)
    z = normal("bayes/z", 5, 3)
    joint = noising(z, there, here).log_density(y) - 0.5 * ((z - there.alpha * x) / there.sigma).square().sum(1)
    law = reversal(y, x, here, there, 0.0)
    other = law.draw(normal("bayes/other", 5, 3))
    ratio = noising(other, there, here).log_density(y) - 0.5 * ((other - there.alpha * x) / there.sigma).square().sum(1)
    assert torch.allclose(joint - ratio, law.log_density(z) - law.log_density(other), rtol=1e-10)


def test_reverse_variances_between_small_and_large() -> None:
    here, there = Place.at(-1.0), Place.at(0.5)
    small, middle, large = (
        reversal(torch.zeros(1, 1), torch.zeros(1, 1), here, there, v).variance for v in (0.0, 0.5, 1.0)
    )
    assert large == pytest.approx(noising(torch.zeros(1, 1), there, here).variance)
    assert middle**2 == pytest.approx(small * large)


def test_grids() -> None:
    karras, cosine = karras_grid(LOW, HIGH, 10), quantile_grid(Truncated(Cosine(), LOW, HIGH), 10)
    for grid in (karras, cosine, _grid(10)):
        assert len(grid) == 11
        assert float(grid[0]) == pytest.approx(LOW)
        assert float(grid[-1]) == pytest.approx(HIGH)
        assert bool((grid.diff() > 0).all())
    roots = (-karras / 14).exp()
    assert torch.allclose(roots.diff(), roots.diff()[0].expand(10))


def test_wrong_noise_and_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="noise must have 5 rows, got 1"):
        generate(GAUSSIAN, Ancestral(), _grid(4), torch.zeros(1, 2, 1))
    with pytest.raises(ValueError, match="must increase in log_snr"):
        generate(GAUSSIAN, Ddim(), _grid(4).flip(0), torch.zeros(1, 2, 1))
    start, here, there = torch.zeros(2, 1), Place.at(0.0), Place.at(1.0)
    with pytest.raises(ValueError, match="needs noise for every step"):
        Ancestral().step(Step(GAUSSIAN, start, start, here, there, before=None, last=True, noise=None))


def test_clipped_data_stay_in_bounds() -> None:
    low, high = torch.tensor([0.5, 0.75], dtype=torch.float64)[:, None]
    x = generate(Clipped(GAUSSIAN, low, high), Ddim(), _grid(10), normal("clip", 1, 50, 1))
    assert 0.5 <= float(x.min()) < float(x.max()) <= 0.75


DIRECTIONS = torch.arange(16, dtype=torch.float64) * (math.pi / 16)
DIRECTIONS = torch.stack([DIRECTIONS.cos(), DIRECTIONS.sin()])


def _sliced(one: Tensor, other: Tensor) -> float:
    """Wasserstein distance of order one, the mean over directions."""
    return float(((one @ DIRECTIONS).sort(0).values - (other @ DIRECTIONS).sort(0).values).abs().mean())


@pytest.mark.statistical
def test_dpm_solver_with_32_steps_is_as_good_as_exact_draws() -> None:
    """Sliced distance to fresh draws at most 1.2 times that of other fresh draws, both as means of three."""
    count, grid = 20_000, quantile_grid(Uniform(-10.0, 10.0), 32)
    ours, floor = [], []
    for n in range(3):
        x = generate(DENOISER, DpmSolver2M(), grid, normal(f"dpm/{n}", 1, count, 2))
        fresh, other = draws(f"fresh/{n}", count), draws(f"other/{n}", count)
        ours.append(_sliced(x, fresh))
        floor.append(_sliced(other, fresh))
    assert sum(ours) <= 1.2 * sum(floor)


# denoising.md, 5.2 and its checks: steps, interpolation, EUBO, ELBO, effective sample size where it is enough for an
# estimate of itself; log Z is zero.
SANDWICH = [
    (16, 0.0, 6.860, -3.642, None),
    (16, 1.0, 0.711, -1.073, 0.313),
    (32, 1.0, 0.405, -0.507, 0.484),
    (64, 0.0, 1.240, -1.042, None),
    (64, 1.0, 0.226, -0.237, 0.664),
]


@pytest.mark.statistical
@pytest.mark.parametrize(("steps", "interpolation", "eubo", "elbo", "ess"), SANDWICH)
def test_both_sides_of_log_z(steps: int, interpolation: float, eubo: float, elbo: float, ess: float | None) -> None:
    count, grid = 16_000, quantile_grid(Uniform(-10.0, 10.0), steps)
    stream = f"sandwich/{steps}/{interpolation}"
    model = Reparametrised(DENOISER, Velocity(), VariancePreserving())
    bridge = DenoisingBridge(DiagonalPrior(2, learned=False), model, grid, interpolation).double()
    up, down = (normal(f"{stream}/{way}", steps + 2, count, 2) for way in ("up", "down"))
    above = log_weights(bridge, simulate_backward(bridge, TARGET, draws(stream, count), up))
    with torch.no_grad():
        path = simulate(bridge, TARGET, down)
    x, below = path.state[-1], log_weights(bridge, path)
    assert float(above.mean()) == pytest.approx(eubo, rel=0.1)
    assert float(below.mean()) == pytest.approx(elbo, rel=0.1)
    assert x.shape == (count, 2)
    if ess is not None:
        estimates = estimate(below)
        assert abs(estimates.log_z) < standard_errors() * estimates.log_z_se
        assert estimates.ess_fraction == pytest.approx(ess, rel=0.1)
