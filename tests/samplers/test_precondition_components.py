"""Mixtures of Gaussians as priors: densities, scores, draws and changes of coordinates."""

import pytest
import torch
from torch import Tensor

from gephyra.samplers.components import Components, Mixture
from gephyra.samplers.random import keyed_generator, normal_noise
from tests.statistics import assert_mean_equals

_G = torch.Generator().manual_seed(3)


def _random(count: int, dim: int, full: bool) -> Components:
    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=_G, dtype=torch.float64)

    tril = 0.3 * draw(count, dim, dim).tril(-1) + torch.diag_embed(draw(count, dim).exp())
    mixture = Components(draw(count).log_softmax(0), 2.0 * draw(count, dim), tril)
    return mixture if full else mixture._replace(tril=draw(count, dim).exp())


SHAPES = [(1, 1), (3, 2), (40, 7)]
MIXTURES = [pytest.param(_random(*shape, full), id=f"{shape}-{full}") for shape in SHAPES for full in (True, False)]


@pytest.mark.parametrize("full", [True, False])
def test_the_density_integrates_to_one(full: bool) -> None:
    """By the trapezoidal rule on a grid."""
    mixture = _random(3, 2, full)._replace(tril=torch.rand(3, 2, generator=_G, dtype=torch.float64) + 0.5)
    if full:
        mixture = mixture._replace(tril=torch.diag_embed(mixture.tril) + 0.4 * torch.ones(2, 2).tril(-1).double())
    line = torch.arange(-20.0, 20.0, 0.05, dtype=torch.float64)
    total = mixture.log_density(torch.cartesian_prod(line, line)).exp().sum() * 0.05**2
    assert float(total) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("mixture", MIXTURES)
def test_the_score_is_the_gradient(mixture: Components) -> None:
    x = torch.randn(16, mixture.mean.shape[1], generator=_G, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.log_density(x).sum(), x)
    assert torch.allclose(mixture.score(x.detach()), gradient, atol=1e-9)


@pytest.mark.parametrize("mixture", MIXTURES)
def test_torch_agrees(mixture: Components) -> None:
    normal = torch.distributions.MultivariateNormal
    tril = mixture.tril if mixture.tril.ndim == 3 else torch.diag_embed(mixture.tril)
    reference = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=mixture.log_weight), normal(mixture.mean, scale_tril=tril)
    )
    x = torch.randn(16, mixture.mean.shape[1], generator=_G, dtype=torch.float64)
    assert torch.allclose(mixture.log_density(x), reference.log_prob(x))


@pytest.mark.statistical
@pytest.mark.parametrize("mixture", MIXTURES)
def test_draws_have_the_mean_and_variance_of_the_mixture(mixture: Components) -> None:
    dim = mixture.mean.shape[1]
    noise = normal_noise((50_000, dim), "test", 0, 0)
    draws = mixture.sample(noise, torch.from_numpy(keyed_generator("test", 0, 1).random(50_000)))
    mean, scale = mixture.moments()
    assert_mean_equals(draws.numpy(), mean.numpy())
    assert_mean_equals((draws - mean).square().numpy(), scale.square().numpy())
    factor = mixture.factor()
    assert torch.allclose((factor @ factor.T).diagonal(), scale.square())


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("full", [True, False])
def test_a_change_of_coordinates_changes_the_density_by_its_determinant(mixture: Components, full: bool) -> None:
    dim = mixture.mean.shape[1]
    scale = torch.diag(torch.linspace(0.5, 2.0, dim, dtype=torch.float64)) + 0.2 * torch.ones(dim, dim).double().tril(
        -1
    )
    log_det = scale.diagonal().log().sum()
    shift = torch.linspace(-1.0, 1.0, dim, dtype=torch.float64)
    scale = scale if full else scale.diagonal()
    u = torch.randn(9, dim, generator=_G, dtype=torch.float64)
    x = shift + (u @ scale.T if full else u * scale)
    assert torch.allclose(mixture.mapped(shift, scale).log_density(u), mixture.log_density(x) + log_det)


def test_chosen_components_are_normalised() -> None:
    mixture = _random(5, 2, True).chosen(torch.tensor([True, False, True, False, False]))
    assert float(mixture.log_weight.exp().sum()) == pytest.approx(1.0)
    assert mixture.mean.shape == (2, 2)


BAD = {
    "mean must have shape": ((1,), (2,), (1, 2, 2)),
    "log_weight must have shape": ((2,), (1, 2), (1, 2, 2)),
    "tril must have shape": ((1,), (1, 2), (1, 2, 3)),
}


@pytest.mark.parametrize(("message", "shapes"), BAD.items(), ids=list(BAD))
def test_wrong_shapes_are_refused(message: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture(Components(*(torch.ones(shape) for shape in shapes)))


@pytest.mark.parametrize(("value", "message"), [(float("nan"), "must be finite"), (-1.0, "must be positive")])
def test_wrong_values_are_refused(value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture(Components(torch.zeros(1), torch.zeros(1, 2), torch.full((1, 2), value)))
