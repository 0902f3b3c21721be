"""The checks of densities pass what is right and find every planted mistake."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from gephyra.clients.definition import catalogue
from gephyra.clients.testing import CheckReport, check_batch, check_score, check_support, points, targets
from gephyra.targets.base import Target
from tests.testing.broken import BATCH_MISTAKES, SCORE_MISTAKES, SUPPORT_MISTAKES, Broken, HalfLine, LogNormal, correct

INSIDE, OUTSIDE = [[0.1], [1.0], [30.0]], [[-0.1], [-50.0]]


def single(target: Target) -> Target:
    """The same target computed in float32 whatever the points: what a captured JAX program does."""

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        log_density, score = target.log_density_and_score(x.float())
        return log_density.to(x), score.to(x)

    return Broken(target.dim, evaluate, target.log_z)


def test_correct_targets_pass() -> None:
    for target in (correct(), single(correct()), catalogue("seeds"), catalogue("funnel", dim=4)):
        assert isinstance(check_score(target), CheckReport)
        assert check_batch(target).check == "check_batch"


@settings(max_examples=30)
@given(targets())
def test_every_target_of_the_strategy_passes(target: Target) -> None:
    check_score(target, points=8)
    check_batch(target, points=8)
    assert target.log_z is not None


@pytest.mark.parametrize("mistake", SCORE_MISTAKES)
@pytest.mark.parametrize("precision", ["double", "single"])
def test_score_mistakes_are_found(mistake: str, precision: str) -> None:
    target = SCORE_MISTAKES[mistake]
    with pytest.raises(
        AssertionError, match=r"check_score: score and central differences disagree at \d+ of \d+ points"
    ):
        check_score(target if precision == "double" else single(target))


def test_a_common_factor_is_diagnosed() -> None:
    with pytest.raises(AssertionError, match="the sign of the score is wrong"):
        check_score(SCORE_MISTAKES["wrong sign"])
    with pytest.raises(AssertionError, match=r"the score is the gradient times 0\.5"):
        check_score(SCORE_MISTAKES["half the gradient"])


def test_a_density_that_is_nowhere_smooth_decides_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = Broken(1, lambda x: (torch.randn(len(x), generator=generator, dtype=x.dtype), torch.zeros_like(x)))
    with pytest.raises(AssertionError, match="decide nothing"):
        check_score(noise)


@pytest.mark.parametrize("mistake", BATCH_MISTAKES)
def test_batch_mistakes_are_found(mistake: str) -> None:
    with pytest.raises(AssertionError, match=r"check_batch: .* row .* in the whole batch and"):
        check_batch(BATCH_MISTAKES[mistake])


@pytest.mark.parametrize("mistake", SUPPORT_MISTAKES)
def test_support_mistakes_are_found(mistake: str) -> None:
    with pytest.raises(AssertionError, match="check_support"):
        check_support(SUPPORT_MISTAKES[mistake], INSIDE, OUTSIDE)


def test_support_passes_and_names_the_point() -> None:
    assert "-inf at all 2 points" in check_support(HalfLine(), INSIDE, OUTSIDE).detail
    assert "finite at 2 points" in check_support(correct(), np.zeros((2, 2))).detail
    with pytest.raises(AssertionError, match=r"point 1 has -3\.0"):
        check_support(HalfLine(), INSIDE, [[-1.0], [3.0]])
    with pytest.raises(AssertionError, match="log density not allowed at 1"):
        check_support(HalfLine(), [[1.0], [-1.0]])


def test_a_missing_jacobian_keeps_score_and_density_consistent() -> None:
    """So check_score cannot see it; check_unbiased_weights does (test_path_checks.py)."""
    check_score(LogNormal(jacobian=False))


@given(points(3, count=4))
def test_points_are_finite_and_of_the_asked_shape(x: Tensor) -> None:
    assert x.shape == (4, 3)
    assert x.dtype == torch.float64
    assert bool(x.isfinite().all())


def test_only_targets_and_definitions_are_taken() -> None:
    with pytest.raises(TypeError, match="expected a Target, or what from_numpyro"):
        check_score(lambda x: x)  # type: ignore[arg-type]
