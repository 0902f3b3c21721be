"""Laws of the affine view: the same measure in other coordinates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gephyra.clients.testing import AffineMap, affine_maps, check_batch, check_score, points, targets
from gephyra.targets.affine import AffineView
from gephyra.targets.base import OpaqueTarget, Target
from gephyra.targets.gaussian import Gaussian
from gephyra.targets.scaled import ScaledTarget
from gephyra.targets.seeds import Seeds


@st.composite
def views(draw: st.DrawFn) -> tuple[Target, AffineMap, Tensor]:
    """A target, a map to it, and points u."""
    target = draw(targets())
    return target, draw(affine_maps(target.dim)), draw(points(target.dim))


@settings(max_examples=30)
@given(views())
def test_change_of_variables(case: tuple[Target, AffineMap, Tensor]) -> None:
    target, affine, u = case
    view = affine.view(target)
    x = torch.from_numpy(affine(u.numpy()))
    torch.testing.assert_close(view.to_target(u), x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(view.log_density(u), target.log_density(x) + affine.log_abs_det, rtol=1e-9, atol=1e-9)
    assert view.log_z == target.log_z
    assert view.dim == target.dim


@settings(max_examples=30)
@given(views())
def test_round_trip(case: tuple[Target, AffineMap, Tensor]) -> None:
    target, affine, u = case
    view = affine.view(target)
    torch.testing.assert_close(view.from_target(view.to_target(u)), u, rtol=1e-7, atol=1e-7)


@settings(max_examples=30)
@given(views())
def test_score_is_the_gradient_in_the_new_coordinates(case: tuple[Target, AffineMap, Tensor]) -> None:
    target, affine, u = case
    view = affine.view(target)
    check_score(view, 0.1 * torch.randn(4, target.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    check_batch(view, u)


@settings(max_examples=30)
@given(affine_maps(3))
def test_diagonal_map_is_the_triangular_map_with_that_diagonal(affine: AffineMap) -> None:
    diagonal = affine.scale_tril if affine.scale_tril.ndim == 1 else affine.scale_tril.diagonal()
    target = Gaussian([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    u = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    thin, full = AffineView(target, affine.shift, diagonal), AffineView(target, affine.shift, np.diag(diagonal))
    torch.testing.assert_close(thin.log_density_and_score(u), full.log_density_and_score(u))
    torch.testing.assert_close(thin.from_target(u), full.from_target(u))


@settings(max_examples=30)
@given(affine_maps(2), st.floats(-5, 5))
def test_views_and_multiples_commute(affine: AffineMap, log_constant: float) -> None:
    target = Gaussian([0.0, 1.0], [1.0, 2.0])
    u = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
    one = ScaledTarget(affine.view(target), log_constant)
    other = affine.view(ScaledTarget(target, log_constant))
    torch.testing.assert_close(one.log_density(u), other.log_density(u))
    assert one.log_z == other.log_z == log_constant


def test_view_by_the_cholesky_factor_is_standard_normal() -> None:
    covariance = np.array([[4.0, 1.0], [1.0, 2.0]])
    view = AffineView(Gaussian([3.0, -1.0], covariance), [3.0, -1.0], np.linalg.cholesky(covariance))
    u = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_density, score = view.log_density_and_score(u)
    torch.testing.assert_close(score, -u)
    torch.testing.assert_close(log_density, -0.5 * u.square().sum(-1) - np.log(2 * np.pi))


def test_sites_come_from_the_target() -> None:
    affine = AffineMap(np.linspace(-1, 1, 26), np.full(26, 0.5))
    view = affine.view(Seeds())
    u = torch.ones(3, 26)
    assert view.sites == Seeds.sites
    torch.testing.assert_close(view.constrain(u)["tau"], Seeds().constrain(view.to_target(u))["tau"])


class Foreign(OpaqueTarget):
    """A standard normal that refuses points with gradients, as a JAX program would."""

    dim = 2

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert not x.requires_grad
        return -0.5 * x.square().sum(-1), -x


def test_gradients_pass_through_a_view_of_a_foreign_density() -> None:
    view = AffineView(Foreign(), [1.0, 2.0], [[2.0, 0.0], [1.0, 3.0]])
    u = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(view.log_density(u).sum(), u)
    torch.testing.assert_close(gradient, view.log_density_and_score(u.detach())[1])


@pytest.mark.parametrize(
    ("shift", "scale", "message"),
    [
        ([0.0], [1.0, 1.0], r"shift must have shape \(2,\), got \(1,\)"),
        ([0.0, 0.0], [1.0], r"scale_tril must have shape \(2, 2\) or \(2,\), got \(1,\)"),
        ([0.0, 0.0], [[1.0, 0.0]], r"scale_tril must have shape \(2, 2\) or \(2,\), got \(1, 2\)"),
        ([0.0, np.nan], [1.0, 1.0], "must be finite"),
        ([0.0, 0.0], [1.0, np.inf], "must be finite"),
        ([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]], "lower triangular: take the Cholesky factor"),
        ([0.0, 0.0], [[1.0, 0.0], [0.5, 0.0]], "no zero on its diagonal"),
        ([0.0, 0.0], [0.0, 1.0], "no zero on its diagonal"),
    ],
)
def test_maps_that_are_none_are_refused(shift: list[float], scale: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AffineView(Gaussian([0.0, 0.0], [1.0, 1.0]), shift, scale)


def test_a_multiple_needs_a_finite_constant() -> None:
    with pytest.raises(ValueError, match="log_constant must be finite, got inf"):
        ScaledTarget(Seeds(), float("inf"))
