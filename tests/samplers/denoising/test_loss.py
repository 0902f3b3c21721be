"""The loss is one number for every prediction of equal w, with the values of the literature."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gephyra.samplers.denoising.denoiser import Denoiser, DenoisingModel, Reparametrised
from gephyra.samplers.denoising.density import Cosine, LevelDensity, Truncated, Uniform, straight
from gephyra.samplers.denoising.exact import GaussianDenoiser
from gephyra.samplers.denoising.loss import DenoisingLoss, baseline_fractions
from gephyra.samplers.denoising.prediction import Data, FlowVelocity, Noise, Prediction, Score, Velocity
from gephyra.samplers.denoising.sampling import AdaptiveHistogram, Independent, Levels, LowDiscrepancy, NoiseLevels
from gephyra.samplers.denoising.schedule import Rectified, Schedule, VariancePreserving, preserving
from gephyra.samplers.denoising.weighting import Explicit, InSpace, Weighting, elbo, simple
from gephyra.samplers.noise import NoiseSource
from tests.samplers.denoising.exact import DENOISER, STANDARD, VARIANCE, drawn, draws, normal
from tests.samplers.denoising.test_prediction import PREDICTIONS, SCHEDULES
from tests.statistics import assert_mean_equals

VP, STRAIGHT = VariancePreserving(), Rectified()
LOW, HIGH = -6.0, 8.0
# Weighting, schedule, density, w at lambda = 0: the rows of a table have the same w but for this constant.
Stated = tuple[Weighting, Schedule, LevelDensity, float]
ONE: dict[str, Stated] = {
    "cosine": (elbo(), VP, Cosine(), 1.0),
    "straight": (elbo(), STRAIGHT, straight(), 1.0),
    "own": (Explicit(torch.ones_like), VP, Uniform(LOW, HIGH), 1.0),
}
HALF: dict[str, Stated] = {
    "velocity": (simple(Velocity()), VP, Cosine(), 1 / math.pi),
    "flow, straight": (simple(FlowVelocity(straight())), STRAIGHT, straight(), 1 / 2),
    "flow, cosine": (simple(FlowVelocity(Cosine())), VP, Cosine(), math.pi / 4),
    "own": (Explicit(lambda log_snr: (-log_snr / 2).exp()), VP, Uniform(LOW, HIGH), 1.0),
}


class Erring(nn.Module, Denoiser):
    """Between the exact denoiser (share 0) and the baseline (share 1)."""

    dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def data(self, y: Tensor, log_snr: Tensor) -> Tensor:
        return torch.lerp(DENOISER.data(y, log_snr), STANDARD.data(y, log_snr), self.share)


def _loss(weighting: Weighting, schedule: Schedule, density: LevelDensity) -> DenoisingLoss:
    return DenoisingLoss(weighting, NoiseLevels(density, Independent()), schedule)


def _expected(stated: Stated, model: DenoisingModel) -> Tensor:
    """The expected loss over lambda in [LOW, HIGH] by quadrature, on fixed data and noise."""
    weighting, schedule, density, constant = stated
    count = 4000
    log_snr = torch.linspace(LOW, HIGH, count, dtype=torch.float64)
    log_density = density.log_density(log_snr)
    levels = Levels(log_snr, (-log_density).exp(), torch.ones_like(log_snr))
    terms = _loss(weighting, schedule, density).terms(model, draws("law", count), normal("law", count, 2), levels)
    return (terms * log_density.exp()).mean() * (HIGH - LOW) / constant


@pytest.mark.parametrize("table", [ONE, HALF], ids=["w = 1", "w = exp(-lambda / 2)"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)
def test_equal_w_is_equal_loss(prediction: Prediction, schedule: Schedule, table: dict[str, Stated]) -> None:
    """For a denoiser that errs: half the exact one's answer and half the baseline's."""
    reference = _expected(table["own"], Reparametrised(Erring(), Noise(), VP)).item()
    model = Reparametrised(Erring(), prediction, schedule)
    for stated in table.values():
        assert _expected(stated, model).item() == pytest.approx(reference, rel=1e-10)


def _slope(prediction: Prediction, stated: Stated, share: float) -> float:
    """Of the expected loss in the share."""
    denoiser = Erring()
    with torch.no_grad():
        denoiser.share.fill_(share)
    _expected(stated, Reparametrised(denoiser, prediction, VP)).backward()
    return float(denoiser.share.grad or 0.0)


def _optimum(prediction: Prediction, stated: Stated) -> float:
    """Where the loss, a parabola in the share, is least."""
    first, last = (_slope(prediction, stated, share) for share in (0.0, 1.0))
    return first / (first - last)


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)
def test_equal_w_has_one_optimum(prediction: Prediction, name: str) -> None:
    expected = _optimum(Noise(), HALF["own"])
    assert _optimum(prediction, HALF[name]) == pytest.approx(expected, abs=1e-10)
    # On finitely many rows it is near the exact denoiser, not at it.
    assert 0.0 < abs(expected) < 0.05


def _levels(density: LevelDensity, count: int) -> Levels:
    return NoiseLevels(density, LowDiscrepancy()).sample(torch.full((count,), 0.5 / count, dtype=torch.float64))


# The released code of arXiv 2507.01516 adds 1e-2 to denominators, differently for each prediction (denoising.md, 0.3):
# its "NELBO" weights in the space of the prediction, and their values for the exact denoiser.
CLAMPED: dict[str, tuple[Prediction, Callable[[Tensor, Tensor], Tensor], float]] = {
    "data": (Data(), lambda a, s: a / (s**3 + 0.01), 0.652),
    "noise": (Noise(), lambda a, s: 1 / (s * a + 0.01), 2.370),
    "velocity": (Velocity(), lambda a, s: a / (s + 0.01), 2.375),
    # Its score target is -sigma eps / (sigma^2 + 0.01).
    "score": (Score(), lambda a, s: s / (a + 0.01) * (s**2 / (s**2 + 0.01)) ** 2, 0.753),
}


@pytest.mark.parametrize("name", CLAMPED)
def test_clamped_losses_of_the_comparative_study(name: str) -> None:
    prediction, weight, published = CLAMPED[name]

    def clamped(log_snr: Tensor) -> Tensor:
        level = preserving(log_snr)
        return weight(level.alpha, level.sigma)[:, 0]

    # Levels at the midpoints of 600 equal parts of time.
    parts, repeats = 600, 300
    share = (torch.arange(parts, dtype=torch.float64) + 0.5) / parts
    log_snr = Cosine().quantile(share).repeat(repeats)
    levels = Levels(log_snr, (-Cosine().log_density(log_snr)).exp(), torch.ones_like(log_snr))
    model, loss = Reparametrised(DENOISER, prediction, VP), _loss(InSpace(prediction, clamped), VP, Cosine())
    (x, within), eps = drawn("clamped", len(log_snr)), normal("clamped", len(log_snr), 2)
    # Theirs is a mean over the two dimensions, ours half a sum.
    terms = loss.terms(model, x, eps, levels) - 0.5 * loss.noise_weight(levels) * _known_noise(within, eps, log_snr)
    assert float(terms.view(repeats, parts).var(0).mean()) / len(terms) < 0.003**2
    assert float(terms.mean()) == pytest.approx(published, abs=0.01)


def _known_noise(within: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """Of mean zero, `(batch,)`: the fluctuation of |eps - eps'|^2 where the modes do not overlap, its larger part."""
    level = preserving(log_snr)
    signal = level.alpha.square() * VARIANCE
    share = signal / (signal + level.sigma.square())
    residual = share.sqrt() * eps - (1 - share).sqrt() * within
    return (share * (residual.square() - 1)).sum(1)


@pytest.mark.statistical
@pytest.mark.parametrize("steps", [None, 50])
def test_the_exact_denoiser_has_no_gradient_on_average(steps: int | None) -> None:
    """In continuous and in discrete time, on draws of its own density."""
    density = Truncated(Cosine(), -4.0, 4.0)
    loss = DenoisingLoss(elbo(), NoiseLevels(density, LowDiscrepancy(), steps=steps), VP)
    model, data = Reparametrised(Erring(), Velocity(), VP), draws("gradient", 4000)
    with torch.no_grad():
        next(model.parameters()).zero_()
    slopes = []
    for n in range(200):
        model.zero_grad()
        loss.gradient(model, data, NoiseSource(0, n, dtype=torch.float64), 256)
        slopes += [float(parameter.grad) for parameter in model.parameters() if parameter.grad is not None]
    assert len(slopes) == 200
    assert_mean_equals(slopes, 0.0)


def test_a_gradient_is_a_function_of_seed_and_step() -> None:
    loss, data = _loss(elbo(), VP, Truncated(Cosine(), -4.0, 4.0)), draws("seed", 100)
    one, other, same = (
        loss.gradient(Reparametrised(Erring(), Data(), VP), data, NoiseSource(seed, 3, dtype=torch.float64), 16)
        for seed in (0, 1, 0)
    )
    assert torch.equal(one.terms, same.terms)
    assert one.loss == float(one.terms.mean())
    assert not torch.equal(one.levels.log_snr, other.levels.log_snr)


def test_an_evaluation_is_the_gradients_loss_without_the_gradient() -> None:
    loss, data = _loss(elbo(), VP, Truncated(Cosine(), -4.0, 4.0)), draws("held out", 100)
    model, noise = Reparametrised(Erring(), Data(), VP), NoiseSource(0, 5, dtype=torch.float64)
    assert torch.equal(loss.evaluate(model, data, noise, 16).terms, loss.gradient(model, data, noise, 16).terms)
    assert not loss.evaluate(model, data, noise, 16).terms.requires_grad


def test_a_loss_goes_on_from_its_memory() -> None:
    data, losses = draws("goes on", 100), []
    for _ in range(2):
        memory = AdaptiveHistogram(-4.0, 4.0, bins=8)
        losses.append(DenoisingLoss(elbo(), NoiseLevels(Uniform(-4.0, 4.0), LowDiscrepancy(), memory), VP, memory))
    model = Reparametrised(Erring(), Data(), VP)
    losses[0].gradient(model, data, NoiseSource(0, 0, dtype=torch.float64), 64)
    losses[1].restore(losses[0].tensors())
    one, other = (loss.evaluate(model, data, NoiseSource(0, 1, dtype=torch.float64), 64) for loss in losses)
    assert torch.equal(one.terms, other.terms)
    assert _loss(elbo(), VP, Uniform(-4.0, 4.0)).tensors() == {}


def test_gradients_teach_an_adaptive_proposal() -> None:
    memory = AdaptiveHistogram(-4.0, 4.0, bins=8)
    before = memory.log_density(torch.zeros(1, dtype=torch.float64))
    source = NoiseLevels(Uniform(-4.0, 4.0), LowDiscrepancy(), memory)
    loss = DenoisingLoss(elbo(), source, VP, memory)
    loss.gradient(
        Reparametrised(Erring(), Data(), VP), draws("taught", 100), NoiseSource(0, 0, dtype=torch.float64), 64
    )
    assert not torch.equal(memory.log_density(torch.zeros(1, dtype=torch.float64)), before)


@pytest.mark.statistical
def test_the_baseline_has_all_of_its_own_loss() -> None:
    """On data with its moments, in every bin, to a few per cent; the exact denoiser has less where modes are seen."""
    loss, data = _loss(elbo(), VP, Uniform(-6.0, 6.0)), draws("fractions", 60_000)
    edges, noise = torch.linspace(-6.0, 6.0, 4), NoiseSource(0, 0, dtype=torch.float64)
    baseline = GaussianDenoiser.of(data)
    for denoiser, low, high in ((baseline, 0.95, 1.05), (DENOISER, 0.0, 0.9)):
        outcome = loss.gradient(_Trainable(denoiser), data, noise, 60_000)
        fractions = baseline_fractions(loss, outcome, baseline, edges)
        assert low < float(fractions[1]) < high


class _Trainable(DenoisingModel):
    """A denoiser with a parameter that changes nothing."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.dim, self.prediction, self.schedule = 2, Data(), VP
        self._denoiser, self.zero = denoiser, nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def output(self, y: Tensor, log_snr: Tensor) -> Tensor:
        return self._denoiser.data(y, log_snr) + self.zero


@pytest.mark.parametrize("at", [-12.0, -4.0, 4.0, 13.0])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)
def test_single_precision_is_enough(prediction: Prediction, schedule: Schedule, at: float) -> None:
    """At the ends of the usual range too: rounding is divided by alpha or sigma, 1/400 or 1/665 there, once."""
    levels = Levels(*torch.tensor([[at], [1.0], [1.0]], dtype=torch.float64).expand(3, 200))
    x, eps, model = draws("single", 200), normal("single", 200, 2), Reparametrised(Erring(), prediction, schedule)
    loss = _loss(elbo(), VP, Uniform(LOW, HIGH))
    with torch.no_grad():
        exact, rounded = loss.terms(model, x, eps, levels), loss.terms(model, x.float(), eps.float(), levels)
    assert float(rounded.mean()) == pytest.approx(float(exact.mean()), rel=1e-3)
