"""With one w(lambda), models of different predictions are trained to one denoiser.

In closed form first: where a model is linear in its coefficients the loss is a parabola, training can go to its very
end, and where that is is known from weighted least squares of the data, x = features coefficients + error, weighed by
w(lambda) exp(lambda). Then with networks, trained as users train them, beside the exact denoiser.
"""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gephyra.samplers.components import Components
from gephyra.samplers.denoising.denoiser import Denoiser, DenoisingModel
from gephyra.samplers.denoising.density import Cosine
from gephyra.samplers.denoising.exact import GaussianDenoiser, MixtureDenoiser
from gephyra.samplers.denoising.loss import DenoisingLoss
from gephyra.samplers.denoising.network import Network, NetworkModel
from gephyra.samplers.denoising.prediction import Prediction
from gephyra.samplers.denoising.sampling import Independent, Levels, NoiseLevels
from gephyra.samplers.denoising.schedule import Schedule, preserving
from gephyra.samplers.denoising.session import train_denoiser
from gephyra.samplers.denoising.settings import DenoisingSettings, Head, PredictionName, WeightingName
from gephyra.samplers.denoising.weighting import simple
from gephyra.samplers.settings import Budget
from tests.samplers.denoising.exact import COMPONENTS, draws, normal, uniform
from tests.samplers.denoising.test_loss import HALF, ONE, VP, Stated
from tests.samplers.denoising.test_prediction import PREDICTIONS, SCHEDULES

GRID = torch.linspace(-4.0, 5.0, 6, dtype=torch.float64)
ROWS = 200
LOG_SNR = GRID.repeat(ROWS)
X, EPS = draws("optima", len(LOG_SNR)), normal("optima", len(LOG_SNR), 2)
Y = preserving(LOG_SNR).noised(X, EPS)
SKIP = GaussianDenoiser.of(X)
EQUAL = 1e-8

each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
each_weight = pytest.mark.parametrize(
    ("table", "power"), [(ONE, 0.0), (HALF, -0.5)], ids=["w = 1", "w = exp(-lambda / 2)"]
)

Features = Callable[[Tensor, Tensor], Tensor]
"""From points, `batch x 2`, and levels, `(batch,)`, to `batch x features`."""


def _curved(y: Tensor, log_snr: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(y[:, :1]), y, (2.0 * y).tanh()], 1)


def _of_each_level(y: Tensor, log_snr: Tensor) -> Tensor:
    """The same with coefficients of their own for each level of the grid."""
    own = (log_snr[:, None] - GRID).abs() < 1e-9
    return (own[:, :, None] * _curved(y, log_snr)[:, None]).flatten(1)


class Linear(Network):
    """Features times coefficients times a factor of the level."""

    dim = 2

    def __init__(self, features: Features, factor: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._features, self._factor = features, factor
        self.coefficients = nn.Parameter(features(Y[:1], LOG_SNR[:1]).new_zeros(features(Y, LOG_SNR).shape[1], 2))

    def forward(self, y: Tensor, log_snr: Tensor) -> Tensor:
        return self._factor(log_snr) * (self._features(y, log_snr) @ self.coefficients)


def _free(prediction: Prediction, schedule: Schedule) -> DenoisingModel:
    """Coefficients of each level in the prediction's own space: conversions only mix them, so the class is one."""
    return NetworkModel(Linear(_of_each_level, lambda log_snr: torch.ones_like(log_snr)[:, None]), prediction, schedule)


def _shared(prediction: Prediction, schedule: Schedule) -> DenoisingModel:
    """The Gaussian's data plus few coefficients for all levels: levels compete, so weights decide where it ends."""

    def factor(log_snr: Tensor) -> Tensor:
        level = schedule.at(log_snr)
        a, b = prediction.coefficients(level)
        return (a - b * level.alpha / level.sigma) / prediction.scale(level)

    return NetworkModel(Linear(_curved, factor), prediction, schedule, SKIP)


def _trained(model: DenoisingModel, stated: Stated) -> Tensor:
    """The data that the model predicts at Y, `rows x 2`, once the gradient of the library's loss has vanished."""
    weighting, schedule, density, _ = stated
    loss = DenoisingLoss(weighting, NoiseLevels(density, Independent()), schedule)
    log_density = density.log_density(LOG_SNR)
    # The grid is uniform in lambda: importance p / q up to a constant.
    levels = Levels(LOG_SNR, (-log_density).exp(), log_density.exp())
    (coefficients,) = model.parameters()

    def slope() -> Tensor:
        (gradient,) = torch.autograd.grad(loss.terms(model, X, EPS, levels).mean(), coefficients, create_graph=True)
        return gradient.flatten()

    first = slope()
    rows = [torch.autograd.grad(each, coefficients, retain_graph=True)[0].flatten() for each in first]
    with torch.no_grad():
        # Newton's step ends at the least value of a parabola.
        coefficients.sub_(torch.linalg.solve(torch.stack(rows), first).view_as(coefficients))
    assert float(slope().detach().norm()) < 1e-8 * float(first.detach().norm())
    with torch.no_grad():
        return model.data(Y, LOG_SNR)


def _least_squares(features: Features, start: Tensor, power: float) -> Tensor:
    """The data predicted at Y by the regression of X - start on the features, weighed by exp((1 + power) lambda)."""
    design, root = features(Y, LOG_SNR), (0.5 * (1.0 + power) * LOG_SNR).exp()[:, None]
    solution: Tensor = torch.linalg.lstsq(root * design, root * (X - start)).solution
    return start + design @ solution


@each_weight
@each_schedule
@each_prediction
def test_models_of_each_level_end_at_its_regression(
    prediction: Prediction, schedule: Schedule, table: dict[str, Stated], power: float
) -> None:
    expected = _least_squares(_of_each_level, torch.zeros_like(X), power)
    for stated in table.values():
        assert float((_trained(_free(prediction, schedule), stated) - expected).abs().max()) < EQUAL


@each_weight
@each_schedule
@each_prediction
def test_models_whose_levels_compete_end_where_w_says(
    prediction: Prediction, schedule: Schedule, table: dict[str, Stated], power: float
) -> None:
    expected = _least_squares(_curved, SKIP.data(Y, LOG_SNR), power)
    for stated in table.values():
        assert float((_trained(_shared(prediction, schedule), stated) - expected).abs().max()) < EQUAL


def test_another_w_ends_elsewhere() -> None:
    """Plain losses of different predictions weigh levels differently: the agreement above is no matter of course."""
    ends = {
        name: _trained(_shared(PREDICTIONS[name], VP), (simple(PREDICTIONS[name]), VP, Cosine(), 1.0))
        for name in ("noise", "data", "velocity", "score")
    }
    for one, other in itertools.combinations(ends.values(), 2):
        assert float((one - other).abs().max()) > 1e6 * EQUAL
    # But for predictions that are one up to a constant.
    edm = PREDICTIONS["edm of unit data"]
    same = _trained(_shared(edm, VP), (simple(edm), VP, Cosine(), 1.0))
    assert float((same - ends["velocity"]).abs().max()) < EQUAL


@pytest.mark.slow
@pytest.mark.parametrize("prediction", PredictionName)
def test_networks_end_near_the_exact_denoiser(prediction: PredictionName) -> None:
    """With w = exp(-lambda / 2): of what a Gaussian loses to the exact denoiser, a twentieth at most is left."""
    settings = DenoisingSettings(
        prediction=prediction, weighting=WeightingName.FLOW_MATCHING, head=Head.CONTINUOUS,
        budget=Budget(iterations=1500), width=64, blocks=2,
    )  # fmt: skip
    sampler = train_denoiser(draws("optima/data", 20_000).float(), ("a", "b"), settings)
    frame = sampler.frame
    mean, scale = frame.transform.to_model(COMPONENTS.mean), COMPONENTS.tril / frame.transform.scale
    exact = MixtureDenoiser(Components(COMPONENTS.log_weight, mean, scale))
    x, eps = frame.transform.to_model(draws("optima/new", 20_000)), normal("optima/new", 20_000, 2)
    log_snr = -8.0 + 18.0 * uniform("optima/new", 20_000)
    y = preserving(log_snr).noised(x, eps)

    def excess(denoiser: Denoiser) -> float:
        with torch.no_grad():
            error = denoiser.data(y, log_snr) - exact.data(y, log_snr)
        return float(((0.5 * log_snr).exp() * error.square().sum(1)).mean())

    left = excess(sampler.model.double()) / excess(frame.gaussian)
    assert left < 0.05
