"""The families that look for modes: what they must find, and what must not fool them."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers.counted import CountedTarget
from gephyra.samplers.precondition import Preconditioned, precondition
from gephyra.samplers.settings import Precondition
from gephyra.targets.base import AutogradTarget, Target
from gephyra.targets.catalogue import gmm40, student_mixture
from gephyra.targets.gaussian import Gaussian
from gephyra.targets.schools import EightSchools
from gephyra.targets.wells import ManyWell
from tests.statistics import standard_errors

LOOKING = [Precondition.ANNEALED, Precondition.AUTO]
COVARIANCES = torch.tensor([[[1.0, 0.8], [0.8, 1.0]], [[4.0, 0.0], [0.0, 0.25]]], dtype=torch.float64)
MEANS = torch.tensor([[-10.0, 0.0], [10.0, 0.0]], dtype=torch.float64)
SHARES = torch.tensor([0.9, 0.1], dtype=torch.float64)


class _TwoGaussians(AutogradTarget):
    """Two Gaussians at distance 20 with shares of nine to one and different covariances; log Z = 3."""

    dim = 2

    def __init__(self, shift: float = 0.0, scale: float = 1.0) -> None:
        self._parts = [Gaussian(scale * MEANS[k] + shift, scale**2 * COVARIANCES[k]) for k in range(2)]

    def _log_density(self, x: Tensor) -> Tensor:
        terms = [part.log_density(x) + float(share.log()) for part, share in zip(self._parts, SHARES, strict=True)]
        return torch.logaddexp(*terms) + 3.0


class _HalfSpace(AutogradTarget):
    """A standard normal that vanishes where x_0 < -1."""

    dim = 3

    def _log_density(self, x: Tensor) -> Tensor:
        inside = x[:, 0] > -1.0
        return torch.where(inside, -0.5 * x.square().sum(1), -torch.inf)


def log_z_agrees(found: Preconditioned, log_z: float | None) -> bool:
    report = found.report
    assert log_z is not None
    assert report.log_z is not None
    assert report.log_z_se is not None
    return abs(report.log_z - log_z) <= standard_errors() * report.log_z_se + 1e-4


@pytest.mark.statistical
@pytest.mark.parametrize("kind", LOOKING)
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (300.0, 1.0), (0.0, 1e-2), (0.0, 100.0)])
def test_both_of_two_gaussians_are_found_with_their_shares(kind: Precondition, shift: float, scale: float) -> None:
    found = precondition(kind, _TwoGaussians(shift, scale), 0)
    assert (found.report.modes, found.report.components) == (2, 2)
    assert found.components is not None
    share = found.components.log_weight.exp()
    assert share.max().item() == pytest.approx(0.9, abs=0.01)
    coordinates = found.coordinates
    mean = coordinates.shift + coordinates.scale * found.components.mean
    order = mean[:, 0].argsort()
    assert torch.allclose((mean[order] - shift) / scale, MEANS, atol=0.05)
    tril = coordinates.scale[:, None].double() * found.components.tril[order] / scale
    assert torch.allclose(tril @ tril.mT, COVARIANCES, atol=0.05)
    assert log_z_agrees(found, 3.0)


@pytest.mark.parametrize("kind", LOOKING)
def test_a_mixture_has_mean_zero_and_unit_scale_in_its_coordinates(kind: Precondition) -> None:
    found = precondition(kind, _TwoGaussians(300.0, 7.0), 1)
    assert found.components is not None
    mean, scale = found.components.moments()
    assert torch.allclose(mean, torch.zeros(2, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(scale, torch.ones(2, dtype=torch.float64), atol=1e-4)


@pytest.mark.parametrize("kind", LOOKING)
def test_a_correlated_gaussian_is_one_mode(kind: Precondition) -> None:
    covariance = torch.tensor([[4.0, 1.9, 0.0], [1.9, 1.0, 0.0], [0.0, 0.0, 1e-4]])
    found = precondition(kind, Gaussian([10.0, -3.0, 0.2], covariance), 0)
    assert (found.report.modes, found.report.components, found.components) == (1, 1, None)
    assert found.report.elbo == pytest.approx(0.0, abs=1e-4)
    assert found.report.ess_fraction == pytest.approx(1.0, abs=1e-4)


MANY: list[tuple[Target, int]] = [(ManyWell(5, 5, 4.0), 32), (ManyWell(50, 5, 2.0), 32), (gmm40(50), 40)]


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(("target", "modes"), [*MANY, (student_mixture(), 10)])
def test_modes_of_the_benchmarks(target: Target, modes: int) -> None:
    assert precondition(Precondition.AUTO, target, 0).report.modes == modes


def test_all_wells_weigh_the_same() -> None:
    target = ManyWell(5, 5, 4.0)
    found = precondition(Precondition.AUTO, target, 0)
    assert found.report.modes == 32
    assert found.components is not None
    assert found.components.log_weight.exp() == pytest.approx(torch.full((32,), 1 / 32), rel=0.15)
    assert log_z_agrees(found, target.log_z)


@pytest.mark.slow
def test_a_maximum_without_mass_is_no_mode() -> None:
    """Centred eight schools has its maximum where tau vanishes; a climb from anywhere ends there."""
    found = precondition(Precondition.AUTO, EightSchools(), 0)
    assert found.report.modes == 1
    assert found.report.elbo is not None
    assert -36.131 - 0.5 < found.report.elbo < -36.131


@pytest.mark.parametrize("kind", [Precondition.GAUSSIAN, *LOOKING])
def test_a_density_that_vanishes_somewhere_has_finite_numbers(kind: Precondition) -> None:
    found = precondition(kind, _HalfSpace(), 0)
    report = found.report
    assert all(map(math.isfinite, (report.elbo or 0.0, report.log_z or 0.0, report.ess_fraction or 0.0)))
    log_z = 1.5 * math.log(2 * math.pi) + math.log(0.5 * (1 + math.erf(1 / math.sqrt(2))))
    assert report.elbo is not None
    assert report.elbo < log_z


@pytest.mark.parametrize("kind", [Precondition.DIAGONAL, Precondition.GAUSSIAN, *LOOKING])
def test_without_time_nothing_is_tried(kind: Precondition) -> None:
    """What is left is the start and its measurement."""
    target = CountedTarget(ManyWell())
    found = precondition(kind, target, 0, lambda: 1.0)
    assert target.evaluations < 20_000
    assert found.report.elbo is not None
