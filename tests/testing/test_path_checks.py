"""The checks of path weights pass untrained bridges of every algorithm and find planted mistakes.

Prior scales are chosen so that an untrained bridge overlaps the target; each statistical check fails a correct program
with probability 1e-6.
"""

import math
from typing import cast

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gephyra.clients.definition import catalogue
from gephyra.clients.testing import check_constant_law, check_unbiased_weights, targets
from gephyra.clients.testing.paths import random_bridge
from gephyra.samplers.algorithms import BUILDERS
from gephyra.samplers.bridge import Bridge, Chain, Increments
from gephyra.samplers.overdamped import OverdampedBridge
from gephyra.samplers.path import Path
from gephyra.samplers.settings import Method
from gephyra.targets.base import Target
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from gephyra.targets.scaled import ScaledTarget
from tests.testing.broken import Broken, LogNormal, correct

TWO_MODES = GaussianMixture([[-1.5, 0.0], [1.5, 1.0]], 0.7)


@pytest.mark.parametrize("method", list(BUILDERS))
@pytest.mark.parametrize(
    "target", [correct(), TWO_MODES, LogNormal(jacobian=True)], ids=["gaussian", "modes", "positive"]
)
def test_untrained_bridges_are_unbiased(method: Method, target: Target) -> None:
    bridge = random_bridge(target.dim, method=method, seed=1)
    assert "claimed 0" in check_unbiased_weights(target, bridge=bridge).detail


def test_wire_definitions_are_taken() -> None:
    check_unbiased_weights(catalogue("gaussian-mixture", means=[[-1.0], [1.0]], scales=0.8))
    check_constant_law(catalogue("many-well", dim=3, wells=1, delta=1.0))


@pytest.mark.parametrize("log_error", [0.1, -0.1])
def test_a_wrong_log_z_is_found(log_error: float) -> None:
    with pytest.raises(AssertionError, match=r"overlap .* standard errors apart"):
        check_unbiased_weights(correct(), log_z=log_error)
    with pytest.raises(AssertionError, match=r"mean of w / Z .* log Z = -?0\.0"):
        check_unbiased_weights(_without_draws(correct()), log_z=log_error)


def test_a_missing_jacobian_is_found() -> None:
    """The density lost tau's Jacobian: its integral is exp(1/8), not 1."""
    with pytest.raises(AssertionError, match=r"the weights say log Z = 0\.1[123]"):
        check_unbiased_weights(LogNormal(jacobian=False))


def test_a_wrong_score_only_costs_efficiency() -> None:
    """E[w] = Z for ANY drift: a wrong score must not make the weights biased."""
    inner = correct()

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        log_density, score = inner.log_density_and_score(x)
        return log_density, 0.7 * score

    check_unbiased_weights(Broken(2, evaluate, 0.0))


class Miscounted(Bridge):
    """A bridge around another whose forward densities are those of a scale that is 3 % too small."""

    horizon = None

    def __init__(self, inner: Bridge) -> None:
        super().__init__()
        self._inner, self.dim, self.state_dim, self.steps = inner, inner.dim, inner.state_dim, inner.steps
        self.start_rows, self.step_rows = inner.start_rows, inner.step_rows

    def start(self, noise: Tensor) -> Tensor:
        return self._inner.start(noise)

    def start_log_density(self, state: Tensor) -> Tensor:
        return self._inner.start_log_density(state)

    def forward_chain(self) -> Chain:
        return self._inner.forward_chain()

    def backward_chain(self) -> Chain:
        return self._inner.backward_chain()

    def end(self, x: Tensor, noise: Tensor) -> Tensor:
        return self._inner.end(x, noise)

    def increments(self, path: Path, first: int, last: int) -> Increments:
        found, shrunk = self._inner.increments(path, first, last), 0.97
        # log N(z; 0, s^2) with s too small: the quadratic form grows by 1 / shrunk^2, the peak by 1 / shrunk.
        peak = self._peaks()[first:last, None]
        wrong = (found.forward - peak) / shrunk**2 + peak - self.dim * math.log(shrunk)
        return found._replace(forward=wrong)

    def _peaks(self) -> Tensor:
        """Log density of each forward kernel at its mean, `(steps,)`."""
        scale: Tensor = cast(OverdampedBridge, self._inner).diffusion()
        return -(scale.double().log() + 0.5 * math.log(2 * math.pi)).sum(-1)


def test_a_wrong_density_of_the_kernel_is_found() -> None:
    """The paths are drawn with one scale and weighed with another."""
    with pytest.raises(AssertionError, match="standard errors apart"):
        check_unbiased_weights(correct(), bridge=Miscounted(random_bridge(2)))


def test_what_cannot_be_judged_is_refused() -> None:
    far = Gaussian([8.0], [0.01])
    with pytest.raises(ValueError, match="too heavy to judge"):
        check_unbiased_weights(_without_draws(far))
    with pytest.raises(ValueError, match="log_z is not known"):
        check_unbiased_weights(Broken(2, correct().log_density_and_score))
    nowhere = Broken(1, lambda x: (torch.full((len(x),), -math.inf), torch.zeros_like(x)), 0.0)
    with pytest.raises(ValueError, match="no path ends at a positive density"):
        check_constant_law(nowhere)
    with pytest.raises(AssertionError, match="every path has weight zero"):
        check_unbiased_weights(nowhere)


@settings(max_examples=15)
@given(targets(), st.floats(-50, 50), st.sampled_from(list(BUILDERS)))
def test_constant_law_holds_for_every_target(target: Target, log_constant: float, method: Method) -> None:
    bridge = random_bridge(target.dim, method=method, steps=8)
    try:
        check_constant_law(target, log_constant=log_constant, bridge=bridge, paths=32)
    except ValueError:  # steps too long for a narrow target: every path ran away
        assume(False)


def test_constant_law_finds_another_constant_and_another_score() -> None:
    with pytest.raises(AssertionError, match=r"path \d+ moves by 2"):
        check_constant_law(correct(), ScaledTarget(correct(), 2.0), 3.0)

    def tilted(x: Tensor) -> tuple[Tensor, Tensor]:
        log_density, score = correct().log_density_and_score(x)
        return log_density + 3.0, score + 0.01

    with pytest.raises(AssertionError, match=r"path \d+ moves by"):
        check_constant_law(correct(), Broken(2, tilted), 3.0)


def test_constant_law_finds_a_support_that_moved() -> None:
    def cut(x: Tensor) -> tuple[Tensor, Tensor]:
        log_density, score = correct().log_density_and_score(x)
        return torch.where(x[:, 0] < 2, log_density, -torch.inf), score

    with pytest.raises(AssertionError, match="weight zero under one of the two only"):
        check_constant_law(correct(), Broken(2, cut), 0.0)


def _without_draws(target: Target) -> Target:
    return Broken(target.dim, target.log_density_and_score, target.log_z)
