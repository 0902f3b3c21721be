"""Exact denoisers against what they must satisfy: Tweedie's formula, the posterior's covariance, and each other."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers.components import Components
from gephyra.samplers.denoising.exact import GaussianDenoiser, MixtureDenoiser
from gephyra.samplers.denoising.schedule import preserving
from tests.samplers.denoising.exact import COMPONENTS, DENOISER, TARGET, draws, normal, uniform
from tests.statistics import assert_mean_equals

FULL = Components(
    torch.tensor([0.3, 0.7]).double().log(),
    torch.tensor([[0.0, 1.0, 2.0], [3.0, -1.0, 0.0]]).double(),
    torch.tensor(
        [[[1.0, 0.0, 0.0], [0.4, 0.5, 0.0], [-0.3, 0.2, 1.5]], [[0.3, 0, 0], [0, 0.2, 0], [0.1, 0, 1]]]
    ).double(),
)


def _at(components: Components) -> tuple[Tensor, Tensor]:
    dim = components.mean.shape[1]
    return normal("exact/y", 200, dim), 16 * uniform("exact/levels", 200) - 8


@pytest.mark.parametrize("components", [COMPONENTS, FULL], ids=["diagonal", "full"])
def test_tweedie(components: Components) -> None:
    """alpha x = y + sigma^2 times the score of y's density, and the divergence of x is the posterior's variance."""
    y, log_snr = _at(components)
    denoiser, level = MixtureDenoiser(components), preserving(log_snr)
    y.requires_grad_()
    posterior = denoiser.posterior(y, log_snr)
    (score,) = torch.autograd.grad(posterior.log_density.sum(), y, retain_graph=True)
    assert torch.allclose(level.alpha * posterior.mean, y + level.sigma.square() * score, rtol=1e-9, atol=1e-11)
    columns = [
        torch.autograd.grad(posterior.mean[:, d].sum(), y, retain_graph=True)[0][:, d] for d in range(y.shape[1])
    ]
    expected = posterior.variance * (level.alpha / level.sigma.square())[:, 0]
    assert torch.allclose(torch.stack(columns).sum(0), expected, rtol=1e-8, atol=1e-10)


def test_without_noise_the_density_is_the_mixture() -> None:
    x = draws("exact/x", 100)
    posterior = DENOISER.posterior(x, torch.full((100,), 60.0, dtype=torch.float64))
    assert torch.allclose(posterior.log_density, TARGET.log_density(x), rtol=1e-10)
    assert torch.allclose(posterior.mean, x, rtol=1e-10)


def _one_gaussian() -> tuple[Components, GaussianDenoiser]:
    one = Components(torch.zeros(1, dtype=torch.float64), FULL.mean[:1], FULL.tril[:1])
    return one, GaussianDenoiser(one.mean[0], one.tril[0] @ one.tril[0].mT)


def test_a_mixture_of_one_is_a_gaussian() -> None:
    one, gaussian = _one_gaussian()
    y, log_snr = _at(one)
    assert torch.allclose(gaussian.data(y, log_snr), MixtureDenoiser(one).data(y, log_snr), rtol=1e-10, atol=1e-12)
    assert torch.allclose(gaussian.log_density(y), one.log_density(y), rtol=1e-10)
    assert torch.allclose(gaussian.covariance, one.tril[0] @ one.tril[0].mT, rtol=1e-10, atol=1e-12)


@pytest.mark.statistical
def test_a_gaussians_expected_error_is_its_error() -> None:
    one, gaussian = _one_gaussian()
    noise, log_snr = normal("error", 2, 40_000, 3), torch.full((40_000,), 1.3, dtype=torch.float64)
    x, level = one.mean[0] + noise[0] @ one.tril[0].mT, preserving(log_snr)
    error = log_snr.exp() * (x - gaussian.data(level.noised(x, noise[1]), log_snr)).square().sum(1)
    assert_mean_equals(error, float(gaussian.expected_error(log_snr[:1])))


def test_explained_variance_is_one_at_no_noise_and_zero_at_all_noise() -> None:
    _, gaussian = _one_gaussian()
    vector, ends = normal("explained", 2, 3), torch.tensor([60.0, -60.0], dtype=torch.float64)
    kept = gaussian.explained(vector, ends)
    assert torch.allclose(kept[0], vector[0], rtol=1e-10)
    assert float(kept[1].abs().max()) < 1e-20


def test_moments_of_data_make_a_gaussian() -> None:
    x = draws("moments", 50)
    gaussian = GaussianDenoiser.of(x)
    assert torch.allclose(gaussian.mean, x.mean(0))
    assert torch.allclose(gaussian.covariance, torch.cov(x.mT, correction=0))
    assert gaussian.log_density(x).mean() == pytest.approx(
        -0.5 * float(torch.logdet(gaussian.covariance)) - math.log(2 * math.pi) - 1.0
    )


def test_wrong_gaussians_are_refused() -> None:
    with pytest.raises(ValueError, match="is a column constant, or a sum of others"):
        GaussianDenoiser(torch.zeros(2), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"covariance \(dim, dim\) or \(dim,\) expected, got \(2,\) and \(3,\)"):
        GaussianDenoiser(torch.zeros(2), torch.ones(3))


def test_a_coordinate_given_the_others_is_as_their_joint_covariance_says() -> None:
    """x_0 and the noised x_1, x_2 are jointly Gaussian: regression of the one on the others."""
    factor = FULL.tril[0]
    covariance, mean = factor @ factor.mT, FULL.mean[0]
    y, log_snr = normal("exact/others", 20, 3), 12 * uniform("exact/others/levels", 20) - 6
    found_mean, found_variance = GaussianDenoiser(mean, covariance).from_others(y, log_snr)
    level = preserving(log_snr)
    for row in range(20):
        alpha, sigma = float(level.alpha[row]), float(level.sigma[row])
        others = alpha**2 * covariance[1:, 1:] + sigma**2 * torch.eye(2, dtype=torch.float64)
        gain = torch.linalg.solve(others, alpha * covariance[1:, 0])
        assert torch.allclose(found_mean[row, 0], mean[0] + gain @ (y[row, 1:] - alpha * mean[1:]), rtol=1e-9)
        expected = covariance[0, 0] - gain @ (alpha * covariance[1:, 0])
        assert torch.allclose(found_variance[row, 0], expected, rtol=1e-9)
