"""The density by one evaluation a step, against a mixture whose density and score are known."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.adams import AdamsFlow
from gephyra.samplers.denoising.as_target import STEPS
from gephyra.samplers.denoising.density import Logistic, Truncated
from tests.samplers.denoising.exact import DENOISER, TARGET, draws

LEVELS = Truncated(Logistic(2.0, 2.5), -12.0, 16.0)


def errors(steps: int) -> tuple[Tensor, Tensor]:
    """Of log densities and scores at draws."""
    x = draws("adams", 500)
    log_density, score = AdamsFlow(DENOISER, LEVELS, steps).log_density_and_score(x)
    exact, exact_score = TARGET.log_density_and_score(x)
    return log_density - exact, score - exact_score


def test_as_many_steps_as_a_target_takes_have_the_density_of_the_data() -> None:
    """The score is of the order of ten; fewer steps are at the edge of stability."""
    error, slope = errors(STEPS)
    assert float(error.square().mean().sqrt()) < 1e-2
    assert float(slope.square().mean().sqrt()) < 0.2
    # What log Z would be off by.
    assert abs(math.log(float(error.exp().mean()))) < 1e-2


def test_the_method_is_of_third_order() -> None:
    """Four times the steps divide errors by 64, of the score too; half of that is asked for."""
    coarse, fine = errors(64), errors(256)
    for before, after in zip(coarse, fine, strict=True):
        assert float(before.square().mean().sqrt() / after.square().mean().sqrt()) > 32.0
    assert float(fine[1].square().mean().sqrt()) < 1e-3


def test_the_density_by_itself_is_the_same_number() -> None:
    x = draws("adams/alone", 20)
    flow = AdamsFlow(DENOISER, LEVELS, 7)
    assert torch.allclose(flow.log_density(x), flow.log_density_and_score(x)[0], rtol=1e-12)


def test_open_ends_and_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="finite levels"):
        AdamsFlow(DENOISER, Logistic(0.0, 1.0), 8)
    with pytest.raises(ValueError, match="at least one step"):
        AdamsFlow(DENOISER, LEVELS, 0)
