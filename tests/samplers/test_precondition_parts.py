"""The parts of the preconditioners: climbs, barriers, Newton steps, particles, mixtures, many dimensions."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers.components import Components
from gephyra.samplers.counted import CountedTarget
from gephyra.samplers.precondition.ascent import climb
from gephyra.samplers.precondition.baseline import measure
from gephyra.samplers.precondition.boost import boosted
from gephyra.samplers.precondition.curvature import hessian, peak_at
from gephyra.samplers.precondition.found import FULL_DIM
from gephyra.samplers.precondition.gaussian import best_gaussian
from gephyra.samplers.precondition.landscape import Landscape, merge_without_barrier
from gephyra.samplers.precondition.newton import newton_fit, newton_fit_mixture
from gephyra.samplers.precondition.search import auto
from gephyra.samplers.precondition.tempering import Tempered, temper
from gephyra.samplers.random import normal_noise
from gephyra.targets.base import AutogradTarget, Target
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from gephyra.targets.schools import EightSchools
from tests.statistics import assert_mean_equals, standard_errors


class _Shifted(AutogradTarget):
    """Another target's density times exp(shift)."""

    def __init__(self, inner: Target, shift: float) -> None:
        self._inner, self._shift, self.dim = inner, shift, inner.dim

    def _log_density(self, x: Tensor) -> Tensor:
        return self._inner.log_density(x) + self._shift


STARTS = normal_noise((64, 4), "test", 0, 0).double()
COVARIANCE = torch.tensor([[100.0, 5.0, 0.0, 0.0], [5.0, 1.0, 0.3, 0.0], [0.0, 0.3, 1.0, 0.0], [0.0, 0.0, 0.0, 1e-2]])


class _Rosenbrock(AutogradTarget):
    """One maximum of 0 at (1, ..., 1), at the end of a bent valley."""

    dim = 4

    def _log_density(self, x: Tensor) -> Tensor:
        return -(100.0 * (x[:, 1:] - x[:, :-1].square()).square() + (1.0 - x[:, :-1]).square()).sum(1)


class _Poisson(AutogradTarget):
    """A log-Gaussian Cox process without correlation: a product over `dim` coordinates."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def _log_density(self, x: Tensor) -> Tensor:
        return self._each(x).sum(1)

    @staticmethod
    def best_elbo() -> float:
        """Of N(m, s^2): m = 1 - rate and s^2 = 1 / (1 + rate) with rate = exp(m + s^2 / 2)."""
        mean, variance = 0.0, 1.0
        for _ in range(200):
            rate = math.exp(mean + 0.5 * variance)
            mean, variance = 0.5 * (mean + 1.0 - rate), 0.5 * (variance + 1.0 / (1.0 + rate))
        return -0.5 * (mean**2 + variance) + mean - rate + 0.5 + 0.5 * math.log(variance)

    @staticmethod
    def _each(x: Tensor) -> Tensor:
        return -0.5 * x.square() - 0.5 * math.log(2 * math.pi) + x - x.exp()


def _one(dim: int, scale: float = 1.0) -> Components:
    tril = scale * torch.eye(dim, dtype=torch.float64)
    return Components(torch.zeros(1, dtype=torch.float64), torch.zeros(1, dim, dtype=torch.float64), tril[None])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_climbs_arrive_whatever_the_scales(scale: float) -> None:
    target = Gaussian([1.0, -2.0, 3.0, 0.0], COVARIANCE)
    climbed = climb(target, scale * STARTS, 200)
    assert bool(climbed.arrived.all())
    top = float(target.log_density(torch.tensor([[1.0, -2.0, 3.0, 0.0]], dtype=torch.float64)))
    assert torch.allclose(climbed.log_density, torch.full((64,), top, dtype=torch.float64), atol=0.1)


def test_a_bent_valley_is_climbed_to_its_end() -> None:
    climbed = climb(_Rosenbrock(), STARTS, 300)
    # In four dimensions this density has a second, lower maximum near (-1, 1, 1, 1).
    assert int((climbed.log_density > -0.1).sum()) > 32


def test_a_climb_without_time_stays_where_it_is() -> None:
    target = CountedTarget(_Rosenbrock())
    climbed = climb(target, STARTS, 300, lambda: 1.0)
    assert torch.equal(climbed.point, STARTS)
    assert target.evaluations == len(STARTS)


def test_the_curvature_of_a_gaussian_is_its_covariance() -> None:
    target = Gaussian([1.0, -2.0, 3.0, 0.0], COVARIANCE)
    assert torch.allclose(hessian(target, STARTS[0]), -torch.linalg.inv(COVARIANCE.double()), rtol=1e-5, atol=1e-6)
    peak = peak_at(Gaussian([1.0, 2.0], [4.0, 1.0]), torch.tensor([2.0, 2.0], dtype=torch.float64))
    assert peak.sound
    assert not peak.saddle
    assert torch.allclose(peak.point, torch.tensor([1.0, 2.0], dtype=torch.float64), atol=1e-6)
    assert peak.log_evidence + math.log(2 * math.pi) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("distance", "modes"), [(1.5, 1), (2.2, 1), (4.0, 2), (20.0, 2)])
def test_a_barrier_parts_two_gaussians_when_they_are_far_enough(distance: float, modes: int) -> None:
    """Equal normals have one maximum up to distance 2; a little further the dip is none worth the name."""
    target = GaussianMixture([[0.0, 0.0], [distance, 0.0]], 1.0)
    ends = torch.tensor([[0.0, 0.0], [distance, 0.0]], dtype=torch.float64)
    assert len(merge_without_barrier(target, ends)) == modes
    landscape = Landscape(target, 0, lambda: 0.0)
    landscape.explore()
    assert len(landscape.modes()) == modes


def test_a_third_mode_between_two_does_not_join_them() -> None:
    target = GaussianMixture([[0.0], [10.0], [20.0]], 1.0)
    assert merge_without_barrier(target, torch.tensor([[0.0], [20.0], [10.0]], dtype=torch.float64)) == [0, 1, 2]


def test_newton_steps_find_a_gaussian_from_any_start() -> None:
    target = Gaussian([1.0, -2.0, 3.0, 0.0], COVARIANCE)
    start = torch.stack([0.01 * torch.eye(4), torch.eye(4), 100.0 * torch.eye(4)]).double()
    mean, tril = newton_fit(target, torch.zeros(3, 4, dtype=torch.float64), start, 0)
    for k in range(3):
        fit = Components(torch.zeros(1, dtype=torch.float64), mean[k : k + 1], tril[k : k + 1])
        assert measure(target, fit, "test", 0).elbo == pytest.approx(0.0, abs=1e-3)


def test_a_mixture_of_variational_inference_beats_its_gaussian() -> None:
    target = EightSchools()
    gaussian = best_gaussian(target, 0, lambda: 0.0).components
    particles = temper(target, gaussian.widened(1.5), 0)
    assert particles is not None
    mixture = newton_fit_mixture(target, boosted(gaussian, particles, 3), 0)
    assert target.log_z is not None
    low, high = (measure(target, fit, "test", 0).elbo for fit in (gaussian, mixture))
    # The gap of the Gaussian is 0.45.
    assert low + 0.2 < high < target.log_z


def test_a_mixture_does_not_depend_on_the_scale_of_the_density() -> None:
    """Weights too: log Z of a posterior is often a hundred nats and more from zero."""
    target = GaussianMixture([[0.0, 0.0], [8.0, 8.0]], 1.0, [0.9, 0.1])
    start = Components(
        torch.tensor([0.5, 0.5]).double().log(), target.means.double(), torch.eye(2).double().repeat(2, 1, 1)
    )
    plain, low = newton_fit_mixture(target, start, 0), newton_fit_mixture(_Shifted(target, -300.0), start, 0)
    assert plain.log_weight.exp() == pytest.approx([0.9, 0.1], abs=1e-3)
    for one, other in zip(plain, low, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.statistical
def test_particles_estimate_z_without_bias() -> None:
    """exp of the estimate is unbiased (up to the adaptation) and the particles have the target's moments."""
    target = Gaussian([0.5, -0.5], [[1.0, 0.6], [0.6, 1.0]])
    runs = [temper(target, _one(2, 3.0), seed, particles=256) for seed in range(40)]
    found = [run for run in runs if run is not None]
    assert len(found) == 40
    assert_mean_equals([math.exp(run.log_z) for run in found], 1.0)
    assert_mean_equals(torch.stack([run.point.mean(0) for run in found]).numpy(), [0.5, -0.5])


def test_particles_without_time_or_density_are_none() -> None:
    assert temper(Gaussian([0.0], [1.0]), _one(1), 0, lambda: 1.0) is None


def test_a_mixture_grows_where_it_lacks_mass() -> None:
    noise = normal_noise((500, 2), "test", 1, 0).double()
    point = torch.cat([noise, noise[:50] + 8.0])
    target = GaussianMixture([[0.0, 0.0], [8.0, 8.0]], 1.0, [0.9, 0.1])
    grown = boosted(_one(2), Tempered(point, target.log_density(point), 0.0, 1), 1)
    assert grown.log_weight.exp() == pytest.approx([0.5, 0.5])
    assert float((grown.mean[1] - 8.0).norm()) < 4.0
    fitted = newton_fit_mixture(target, grown, 0)
    assert measure(target, fitted, "test", 0).elbo == pytest.approx(0.0, abs=1e-3)


@pytest.mark.statistical
def test_many_dimensions_are_fitted_through_the_hessian() -> None:
    """The best Gaussian of a product is the product of the best Gaussians, whose ELBO is in closed form."""
    target = CountedTarget(_Poisson(FULL_DIM + 40))
    fit = best_gaussian(target, 0, lambda: 0.0)
    assert fit.start == "laplace"
    estimates = measure(target, fit.components, "test", 0).estimates
    assert estimates is not None
    best = target.dim * _Poisson.best_elbo()
    assert abs(estimates.elbo - best) <= standard_errors() * estimates.elbo_se
    assert target.evaluations < 20_000


def test_many_dimensions_have_modes_too() -> None:
    assert auto(_Poisson(FULL_DIM + 40), 0, lambda: 0.0).modes == 1
    ends = torch.full((2, FULL_DIM + 1), 3.0) * torch.tensor([[1.0], [-1.0]])
    assert auto(GaussianMixture(ends, 1.0), 0, lambda: 0.0).modes == 2
