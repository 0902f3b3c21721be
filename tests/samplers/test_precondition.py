"""The Gaussian preconditioner: exact on Gaussians, invariant to the target's scales, right where Laplace is wrong."""

import math

import pytest
import torch

from gephyra.samplers.coordinates import Coordinates
from gephyra.samplers.precondition import precondition
from gephyra.samplers.settings import Precondition
from gephyra.targets.gaussian import Gaussian
from gephyra.targets.schools import EightSchools
from gephyra.targets.seeds import Seeds


def covariance(coordinates: Coordinates) -> torch.Tensor:
    scale = coordinates.scale if coordinates.scale.ndim == 2 else torch.diag(coordinates.scale)
    return scale @ scale.T


def test_gaussian_finds_a_gaussian() -> None:
    truth = torch.tensor([[4.0, 1.9, 0.0], [1.9, 1.0, 0.0], [0.0, 0.0, 1e-4]])
    found = precondition(Precondition.GAUSSIAN, Gaussian([10.0, -3.0, 0.2], truth), 0)
    assert found.report.elbo == pytest.approx(0.0, abs=1e-2)
    assert torch.allclose(found.coordinates.shift, torch.tensor([10.0, -3.0, 0.2]), atol=0.05)
    assert torch.allclose(covariance(found.coordinates), truth, rtol=0.05, atol=0.05)


def test_diagonal_finds_the_best_diagonal_gaussian() -> None:
    """Reverse KL to a correlated Gaussian: the variances are the reciprocal diagonal of the precision."""
    truth = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    found = precondition(Precondition.DIAGONAL, Gaussian([0.0, 0.0], truth), 0)
    assert found.coordinates.scale.shape == (2,)
    assert torch.allclose(found.coordinates.scale.square(), 1.0 / torch.linalg.inv(truth).diagonal(), rtol=0.05)
    assert found.report.elbo == pytest.approx(0.5 * math.log(1 - 0.64), abs=0.03)


def test_none_is_the_identity() -> None:
    found = precondition(Precondition.NONE, Seeds(), 0)
    assert torch.equal(found.coordinates.shift, torch.zeros(26))
    assert torch.equal(found.coordinates.scale, torch.ones(26))
    assert found.report.elbo is None


def test_scales_of_the_target_do_not_matter() -> None:
    elbos = [
        precondition(Precondition.GAUSSIAN, Gaussian([0.0, 0.0], [scale**2, 1.0]), 0).report.elbo
        for scale in (1e-3, 1.0, 1e3)
    ]
    assert elbos == pytest.approx([0.0, 0.0, 0.0], abs=0.02)


def test_a_joint_mode_at_infinite_density_does_not_win() -> None:
    """Centred eight schools has its mode where tau vanishes; the Gaussian must be where the mass is."""
    found = precondition(Precondition.GAUSSIAN, EightSchools(), 0)
    assert found.report.elbo is not None
    assert -36.13 - 1.0 < found.report.elbo < -36.13


@pytest.mark.slow
def test_seeds_reaches_the_published_gaussian_elbo() -> None:
    found = precondition(Precondition.GAUSSIAN, Seeds(), 0)
    assert found.report.elbo == pytest.approx(-74.166, abs=0.1)
