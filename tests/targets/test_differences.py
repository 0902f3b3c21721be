"""Error bounds of central differences."""

import torch
from torch import Tensor

from gephyra.targets.base import AutogradTarget
from gephyra.targets.differences import compare_score


class _Coincidence(AutogradTarget):
    """a x^3 + b x^5 with D(1/2) = D(1/8), neither of which is the slope at 0."""

    dim = 1

    def _log_density(self, x: Tensor) -> Tensor:
        return (x.pow(3) - 4.0 * (15.0 / 16.0) / (255.0 / 256.0) * x.pow(5)).sum(1)


def test_two_steps_that_agree_by_coincidence_do_not_decide() -> None:
    agrees, words = compare_score(
        _Coincidence(), torch.zeros(4, 1).double(), torch.Generator().manual_seed(0), 2.0**-52
    )
    assert agrees, words
