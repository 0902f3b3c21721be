"""The score of the data's density leaves a loss its expectation and takes noise from it."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.denoiser import Reparametrised
from gephyra.samplers.denoising.density import Uniform
from gephyra.samplers.denoising.exact import GaussianDenoiser
from gephyra.samplers.denoising.loss import DenoisingLoss
from gephyra.samplers.denoising.prediction import Prediction
from gephyra.samplers.denoising.sampling import LowDiscrepancy, NoiseLevels
from gephyra.samplers.denoising.schedule import VariancePreserving, preserving
from gephyra.samplers.denoising.scores import Scores, mixed_target, model_scores
from gephyra.samplers.denoising.standardise import DataTransform, standardise
from gephyra.samplers.denoising.weighting import elbo
from gephyra.samplers.noise import NoiseSource
from tests.samplers.denoising.exact import DENOISER, MEANS, TARGET, VARIANCE, draws, normal, uniform
from tests.samplers.denoising.test_loss import Erring
from tests.samplers.denoising.test_prediction import PREDICTIONS
from tests.statistics import assert_mean_equals

LOW, HIGH = -6.0, 8.0
LEVELS = NoiseLevels(Uniform(LOW, HIGH), LowDiscrepancy())
LOSS = DenoisingLoss(elbo(), LEVELS, VariancePreserving())


def score_at(x: Tensor) -> Tensor:
    return TARGET.log_density_and_score(x)[1]


def found(stream: str, count: int) -> Scores:
    """As training finds them, at `count` draws."""
    x = draws(stream, count)
    return Scores.of(score_at(x), GaussianDenoiser.of(x).covariance)


# Its covariance is that of a mode: the four hardly overlap.
LOCAL = GaussianDenoiser(torch.zeros(2), torch.full((2,), VARIANCE, dtype=torch.float64))
WRONG = GaussianDenoiser(torch.zeros(2), torch.tensor([1.0, 0.01], dtype=torch.float64))


_Target = Callable[[Tensor, Tensor, Tensor], Tensor]


def _target_error(target: _Target, x: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """Errors of a regression target of the score, `batch x 2`."""
    level = preserving(log_snr)
    y = level.noised(x, eps)
    score = (level.alpha * DENOISER.data(y, log_snr) - y) / level.sigma.square()
    return target(x, eps, log_snr) - score


def _plain(x: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    return -eps / preserving(log_snr).sigma


def _mix(local: GaussianDenoiser) -> _Target:
    def mixed(x: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
        regressed, level = mixed_target(x, eps, score_at(x), local, log_snr), preserving(log_snr)
        # Both describe the same noised point.
        assert torch.allclose(level.noised(*regressed), level.noised(x, eps), rtol=1e-10, atol=1e-12)
        return -regressed.eps / level.sigma

    return mixed


# Covariance known, and found at 500 draws.
MIXED: dict[str, _Target] = {"known": _mix(LOCAL), "found": _mix(found("found", 500).local)}


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("target", "at", "variance"),
    [(_plain, 0.0, 1.84), *((mixed, 0.0, 1.69) for mixed in MIXED.values()), (_plain, 4.0, 75.5), (_plain, 8.0, 5.9e3)],
)
def test_targets_of_the_score_have_the_variance_of_the_reference(target: _Target, at: float, variance: float) -> None:
    """denoising.md, section 5.4; and they are unbiased."""
    x, eps, log_snr = draws("score", 100_000), normal("score", 100_000, 2), torch.full((100_000,), at).double()
    error = _target_error(target, x, eps, log_snr)
    assert float(error.square().sum(1).mean()) == pytest.approx(variance, rel=0.02)
    assert_mean_equals(error, [0.0, 0.0])


@pytest.mark.statistical
@pytest.mark.parametrize(("at", "most"), [(4.0, 0.05), (8.0, 0.001)])
@pytest.mark.parametrize("name", MIXED)
def test_the_mixed_target_has_little_variance_at_high_levels(name: str, at: float, most: float) -> None:
    """At most 0.05 at 4, where the plain target has 75, and 0.001 at 8, where it has 5.9e3.

    With information A + D instead of A, that is K + dK, the variance grows by |dK|^2 (1 / sigma^2 + A / alpha^2), to
    second order alpha^2 sigma^2 |D|^2 / (alpha^2 + sigma^2 A)^3; of n draws of a normal law, E|D|^2 = 6 A^2 / n in two
    dimensions, and ten times that has a chance below 2e-6. Rare points between the modes make up most of it: draws are
    widened and weighed, or a sample would miss them.
    """
    count, wide, loud = 100_000, 2.0, 1.6
    within, eps = wide * normal("wide/within", count, 2), loud * normal("wide/eps", count, 2)
    x, log_snr = MEANS[torch.arange(count) % 4] + math.sqrt(VARIANCE) * within, torch.full((count,), at).double()
    drawn_wide = within.square().sum(1) * (1 - wide**-2) + eps.square().sum(1) * (1 - loud**-2)
    weight = (wide * loud) ** 2 * (-0.5 * drawn_wide).exp()
    assert_mean_equals(weight, 1.0)
    terms = weight * _target_error(MIXED[name], x, eps, log_snr).square().sum(1)
    data, noise = 1 / (1 + math.exp(-at)), 1 / (1 + math.exp(at))
    grown = data * noise * 6 / VARIANCE**2 / 500 / (data + noise / VARIANCE) ** 3
    most += 10 * grown if name == "found" else 0.0
    assert float(terms.std()) / math.sqrt(count) < 0.1 * most
    assert float(terms.mean()) <= most


@pytest.mark.parametrize("at", [-8.0, 0.0, 5.0, 12.0])
def test_a_gaussian_leaves_no_noise(at: float) -> None:
    """The mix is the posterior mean itself."""
    mean, factor = torch.tensor([1.0, -2.0]).double(), torch.tensor([[1.5, 0.0], [-0.7, 0.2]]).double()
    x, eps, log_snr = (
        mean + normal("gaussian/x", 50, 2) @ factor.mT,
        normal("gaussian/eps", 50, 2),
        torch.full((50,), at),
    )
    exact = GaussianDenoiser(mean, factor @ factor.mT)
    score = -torch.linalg.solve(factor @ factor.mT, (x - mean).mT).mT
    regressed = mixed_target(x, eps, score, exact, log_snr.double())
    y = preserving(log_snr.double()).noised(x, eps)
    assert torch.allclose(regressed.x, exact.data(y, log_snr.double()), rtol=1e-9, atol=1e-9)


def _losses(share: float, prediction: Prediction, scores: Scores | None) -> tuple[Tensor, Tensor]:
    """Losses on distinct draws of a model that errs by this share; and what the mix explains."""
    count = 40_000
    x, eps = draws("law", count), normal("law", count, 2)
    levels = LEVELS.sample(uniform("law/levels", count))
    model = Erring()
    with torch.no_grad():
        model.share.fill_(share)
        towards = None if scores is None else scores.regressed(torch.arange(count), x, eps, levels.log_snr)
        terms = LOSS.terms(Reparametrised(model, prediction, VariancePreserving()), x, eps, levels, towards)
    explained = torch.zeros(()) if scores is None else scores.explained(torch.arange(count), levels.log_snr)
    return terms, 0.5 * LOSS.noise_weight(levels) * explained


@pytest.mark.statistical
@pytest.mark.parametrize("local", [LOCAL, WRONG], ids=["right covariance", "wrong covariance"])
@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)
def test_the_expected_gradient_is_the_plain_one(prediction: Prediction, local: GaussianDenoiser) -> None:
    """Losses of two models differ by the same on average: they are parabolas in the share, and so have one slope."""
    scores = Scores(score_at(draws("law", 40_000)), local)
    plain, mixed = (_losses(0.0, prediction, how)[0] - _losses(1.0, prediction, how)[0] for how in (None, scores))
    assert_mean_equals(plain - mixed, 0.0)
    assert float((plain - mixed).abs().mean()) > 1e-3


@pytest.mark.statistical
@pytest.mark.parametrize("local", [LOCAL, WRONG], ids=["right covariance", "wrong covariance"])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_the_mix_explains_is_what_its_loss_lacks(share: float, local: GaussianDenoiser) -> None:
    scores, noise = Scores(score_at(draws("law", 40_000)), local), next(iter(PREDICTIONS.values()))
    (plain, _), (mixed, explained) = (_losses(share, noise, how) for how in (None, scores))
    assert abs(float(explained.mean())) > 0.3 * float(plain.mean())
    assert_mean_equals(plain - mixed - explained, 0.0)


@pytest.mark.statistical
def test_a_judgement_with_scores_is_on_the_scale_of_one_without() -> None:
    """And tells two models apart with less noise."""
    x, source = draws("judge", 200_000), NoiseSource(0, 0, dtype=torch.float64)
    scores, noise = Scores(score_at(x), LOCAL), next(iter(PREDICTIONS.values()))
    models = [Reparametrised(Erring(), noise, VariancePreserving()) for _ in range(2)]
    with torch.no_grad():
        models[0].get_parameter("_denoiser.share").zero_()

    def terms(how: Scores | None) -> list[Tensor]:
        return [LOSS.evaluate(model, x, source, 10_000, how).terms for model in models]

    plain, mixed = terms(None), terms(scores)
    assert_mean_equals(plain[0] - mixed[0], 0.0)
    assert float((mixed[1] - mixed[0]).std()) < 0.8 * float((plain[1] - plain[0]).std())


@pytest.mark.parametrize("rows", [1, 3, 400])
def test_few_rows_have_a_covariance_too(rows: int) -> None:
    """That of the data, at most: no density with their covariance has less information than the Gaussian."""
    factor = torch.tril(normal("few/factor", 5, 5)) + 3 * torch.eye(5)
    covariance = factor @ factor.mT
    local = Scores.of(torch.zeros(rows, 5), covariance).local
    assert torch.allclose(local.covariance, (rows + 5) / 5 * covariance, rtol=1e-9)
    gaussian = Scores.of(normal("few", rows, 5) @ torch.linalg.inv(factor), covariance).local
    if rows == 400:
        assert torch.allclose(gaussian.covariance, covariance, rtol=0.3, atol=0.3 * float(covariance.diagonal().max()))
    assert bool((torch.linalg.eigvalsh(gaussian.covariance) > 0).all())


def test_scores_go_to_the_models_coordinates() -> None:
    """The gradient of the log density as a function of them."""
    transform = DataTransform(torch.tensor([3.0, -1.0]).double(), torch.tensor([0.5, 20.0]).double())
    y = normal("coordinates", 30, 2).requires_grad_()
    x = transform.to_data(y)
    (expected,) = torch.autograd.grad(TARGET.log_density(x).sum(), y)
    x = x.detach()
    assert torch.allclose(model_scores(score_at(x), x, transform), expected, rtol=1e-12)


@pytest.mark.statistical
@pytest.mark.parametrize("rows", [60, 1000])
def test_draws_are_not_doubted_and_other_rows_are(rows: int) -> None:
    def doubt(x: Tensor, moved: Tensor) -> str | None:
        transform = standardise(moved)
        value = model_scores(score_at(moved), moved, transform)
        return Scores(value, LOCAL).doubt(transform.to_model(moved))

    for stream in range(20):
        x = draws(f"doubt/{stream}", rows)
        assert doubt(x, x) is None
        for moved in () if rows < 1000 else (x + 0.5, 2.0 * x, MEANS[0] + (x - MEANS[0]) * 0.5):
            assert "do not look like independent draws" in (doubt(x, moved) or "")
