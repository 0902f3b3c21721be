"""check_target: what each finding says of good targets, and that it finds planted mistakes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gephyra.targets.base import Target
from gephyra.targets.catalogue import build
from gephyra.targets.check import Finding, check_target, speed_finding
from tests.testing.broken import BATCH_MISTAKES, SCORE_MISTAKES, Broken, correct

NAMES = ("finite", "tails", "score", "batch", "speed")


def findings(target: Target) -> dict[str, Finding]:
    found = check_target(target, 32, torch.Generator().manual_seed(0))
    assert tuple(finding.check for finding in found) == NAMES
    return {finding.check: finding for finding in found}


@pytest.mark.parametrize(
    "family",
    ["gaussian", "gmm40", "funnel", "many-well", "seeds", "brownian", "eight-schools", "eight-schools-non-centred"],
)
def test_catalogue_passes(family: str) -> None:
    failed = {name: finding.detail for name, finding in findings(build(family)).items() if not finding.passed}
    assert failed == {}


def failures(target: Target) -> set[str]:
    return {name for name, finding in findings(target).items() if not finding.passed}


@pytest.mark.parametrize("mistake", SCORE_MISTAKES)
def test_score_mistakes_fail_the_score_alone(mistake: str) -> None:
    assert failures(SCORE_MISTAKES[mistake]) == {"score"}


@pytest.mark.parametrize("mistake", BATCH_MISTAKES)
def test_batch_mistakes_fail_the_batch(mistake: str) -> None:
    assert "batch" in failures(BATCH_MISTAKES[mistake])


def changed(change: Callable[[Tensor, Tensor], Tensor]) -> Target:
    inner = correct()

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        log_density, score = inner.log_density_and_score(x)
        return change(x, log_density), score

    return Broken(2, evaluate)


def test_values_that_are_not_finite_are_told_apart() -> None:
    """-inf is not allowed among ordinary points but is in the tails; NaN is allowed nowhere."""
    cut = changed(lambda x, f: torch.where(x.norm(dim=-1) < 6, f, -torch.inf))
    assert findings(cut)["finite"].passed
    assert "-inf at 32 points" in findings(cut)["tails"].detail
    hole = changed(lambda x, f: torch.where(x[:, 0] > 1, -torch.inf, f))
    assert not findings(hole)["finite"].passed
    assert findings(hole)["tails"].passed
    noisy = changed(lambda x, f: torch.where(x.norm(dim=-1) < 6, f, torch.nan))
    assert findings(noisy)["finite"].passed
    assert "has log density nan" in findings(noisy)["tails"].detail


def test_a_density_that_raises_is_a_finding() -> None:
    def refuse(x: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("cholesky failed")

    for finding in findings(Broken(2, refuse)).values():
        assert not finding.passed
        assert finding.detail == "evaluation raised RuntimeError: cholesky failed"


def test_same_seed_same_findings() -> None:
    first, second = findings(correct()), findings(correct())
    assert [first[name] for name in NAMES[:-1]] == [second[name] for name in NAMES[:-1]]


def test_speed_is_evaluations_by_the_given_clock() -> None:
    """A clock that advances 0.05 s a reading: four calls of 1024 points in 0.2 s."""
    readings = iter(range(100))
    finding = speed_finding(correct(), torch.zeros(3, 2), lambda: 0.05 * next(readings))
    assert finding.detail.startswith("2.05e+04 evaluations")


def test_two_points_are_needed() -> None:
    with pytest.raises(ValueError, match="points must be at least 2, got 1"):
        check_target(correct(), 1, torch.Generator())
