"""Arithmetic far from the typical set: zero stays zero, and what is infinite overflows."""

import pytest
import torch

from gephyra.targets.funnel import Funnel
from gephyra.targets.logspace import times_exp


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_with_an_exponential_is_never_nan(dtype: torch.dtype) -> None:
    x = torch.tensor([0.0, 1e-30, -2.0], dtype=dtype)
    for exponent in (5000.0, 1e4):
        assert times_exp(x, torch.tensor(exponent, dtype=dtype)).tolist() == [0.0, float("inf"), -float("inf")]
    assert times_exp(x, torch.tensor(-5000.0, dtype=dtype)).tolist() == [0.0, 0.0, 0.0]
    moderate = torch.tensor(80.0, dtype=dtype)
    assert torch.allclose(times_exp(x, moderate), x * moderate.exp(), rtol=1e-5)


def test_the_axis_of_a_funnel_is_finite_however_deep() -> None:
    """Found by hypothesis: at x_0 = -10^4 on the axis the density of the others is exp(5000)^9, and its log 45 000."""
    log_density, score = Funnel(10).log_density_and_score(torch.tensor([[-1e4] + [0.0] * 9], dtype=torch.float64))
    assert bool(log_density.isfinite().all())
    assert bool(score.isfinite().all())
