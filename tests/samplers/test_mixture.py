"""The mixture prior is a law: it integrates to one and draws what it says; its score is its density's gradient."""

import pytest
import torch
from torch import Tensor

from gephyra.samplers.components import Components
from gephyra.samplers.mixture import MixturePrior
from gephyra.samplers.prior import DiagonalPrior
from gephyra.samplers.random import normal_noise
from tests.statistics import assert_mean_equals

DRAWS = 2**15
MEANS = [[-1.5, 0.5], [1.0, 1.0], [0.3, -1.2]]


def components(full: bool) -> Components:
    log_weight = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()
    diagonal = torch.tensor([[0.5, 0.8], [0.7, 0.4], [0.9, 0.6]], dtype=torch.float64)
    tril = torch.diag_embed(diagonal)
    tril[:, 1, 0] = torch.tensor([0.4, -0.3, 0.1])
    return Components(log_weight, torch.tensor(MEANS, dtype=torch.float64), tril if full else diagonal)


def mixture(full: bool, moved: bool, growth: float = 0.0) -> MixturePrior:
    """At its start, or with every parameter moved as training would."""
    prior = MixturePrior(components(full))
    with torch.no_grad():
        if moved:
            prior.logits.add_(torch.tensor([0.7, -0.4, 0.1]))
            prior.mean.add_(torch.tensor([[0.2, -0.1], [0.0, 0.3], [-0.3, 0.1]]))
            prior.growth.add_(torch.tensor([[0.2, -0.3], [0.1, 0.2], [-0.2, 0.0]]))
        prior.growth.add_(growth)
    return prior


def noise(prior: MixturePrior | DiagonalPrior, stream: str) -> Tensor:
    return normal_noise((prior.rows, DRAWS, prior.dim), stream, 0, 0)


FULL = pytest.mark.parametrize("full", [False, True], ids=["diagonal", "full"])
MOVED = pytest.mark.parametrize("moved", [False, True], ids=["start", "moved"])


@FULL
@MOVED
@torch.no_grad()
def test_it_integrates_to_one(full: bool, moved: bool) -> None:
    prior, wide = mixture(full, moved), DiagonalPrior(2, 2.5)
    x = wide.sample(noise(wide, "wide"))
    assert_mean_equals((prior.log_density(x) - wide.log_density(x)).exp(), 1.0)


@FULL
@MOVED
@torch.no_grad()
def test_it_draws_what_it_says(full: bool, moved: bool) -> None:
    """E_p[q / p] = 1 for a q inside p; with q = p moved one component the ratio sees weights, means and shapes."""
    prior, inside = mixture(full, moved), mixture(full, moved, growth=-0.2)
    x = prior.sample(noise(prior, "mixture"))
    assert_mean_equals((inside.log_density(x) - prior.log_density(x)).exp(), 1.0)
    uneven = mixture(full, moved, growth=-0.2)
    uneven.logits.add_(torch.tensor([1.0, -1.0, 0.0]))
    assert_mean_equals((uneven.log_density(x) - prior.log_density(x)).exp(), 1.0)


@FULL
@MOVED
@torch.no_grad()
def test_centre_and_spread_are_those_of_its_draws(full: bool, moved: bool) -> None:
    prior = mixture(full, moved)
    x = prior.sample(noise(prior, "moments"))
    assert_mean_equals(x, prior.centre())
    assert_mean_equals((x - prior.centre()).square(), prior.spread().square())


@FULL
def test_score_is_the_gradient_at_its_start(full: bool) -> None:
    prior = mixture(full, False)
    x = torch.tensor([[0.1, -0.3], [-2.0, 0.7], [4.0, -5.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(prior.log_density(x).sum(), x)
    assert torch.allclose(prior.scorer()(x), gradient, rtol=1e-4, atol=1e-5)
    rows = torch.stack([x, 2 * x])
    assert torch.equal(prior.scorer()(rows)[0], prior.scorer()(x))


@FULL
def test_one_component_is_a_gaussian(full: bool) -> None:
    tril = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    one = Components(
        torch.zeros(1, dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
        torch.diag_embed(tril) if full else tril,
    )
    gaussian = DiagonalPrior(2)
    with torch.no_grad():
        gaussian.log_scale.copy_(tril[0].log())
    x = torch.tensor([[0.1, -0.3], [-2.0, 0.7]])
    assert torch.allclose(MixturePrior(one).log_density(x), gaussian.log_density(x))


def test_all_its_parameters_learn_from_the_density() -> None:
    prior = mixture(True, True)
    prior.log_density(torch.tensor([[0.1, -0.3]])).sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in prior.parameters())
    assert not any(p.requires_grad for p in MixturePrior(components(True), learned=False).parameters())
