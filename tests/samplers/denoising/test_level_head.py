"""A model of levels starts as independent columns, and its answers are probabilities."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.catalogue import LEVELS, RECONSTRUCTIONS, SCHEDULES, WEIGHTINGS
from gephyra.samplers.denoising.level_head import HeadReconstruction, LevelModel, curves, level_frequencies, waves
from gephyra.samplers.denoising.likelihood import variational_bound
from gephyra.samplers.denoising.loss import DenoisingLoss
from gephyra.samplers.denoising.network import ResidualMlp
from gephyra.samplers.denoising.reconstruction import Discrete, Reconstruction
from gephyra.samplers.denoising.sampling import Independent, NoiseLevels
from gephyra.samplers.denoising.schedule import VariancePreserving
from gephyra.samplers.denoising.settings import LevelsName, ReconstructionName, ScheduleName, WeightingName
from gephyra.samplers.noise import NoiseSource
from gephyra.samplers.random import torch_generator
from tests.samplers.denoising.exact import normal, uniform
from tests.statistics import assert_mean_equals

LEVELS_OF = torch.tensor([[-1.0, 0.0, 2.0], [0.5, 1.5, math.nan]], dtype=torch.float64)
FREQUENCY = torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.1, math.nan]], dtype=torch.float64)


def _network() -> ResidualMlp:
    return ResidualMlp(2, 2 * curves(3), 16, 2, torch_generator("test/network", 0))


def _head() -> LevelModel:
    return LevelModel(_network(), LEVELS_OF, FREQUENCY).double()


def _levelled(count: int) -> Tensor:
    """Draws of independent columns with those frequencies."""
    columns = [
        LEVELS_OF[d][
            torch.searchsorted(FREQUENCY[d].nan_to_num(0).cumsum(0), uniform(f"levels/{d}", count)).clamp(max=2)
        ]
        for d in range(2)
    ]
    return torch.stack(columns, 1)


def test_every_reconstruction_bounds_a_probability() -> None:
    """Of data on levels, by cells (a density times a volume) or by a softmax; a density alone may exceed one."""
    x = _levelled(500)
    given = SCHEDULES[ScheduleName.UNIFORM](-10.0, 8.0)
    source, noise = LEVELS[LevelsName.LOW_DISCREPANCY](given, None).levels, NoiseSource(0, 0, dtype=torch.float64)
    means = {
        name: variational_bound(_head(), x, source, build(LEVELS_OF), noise, 4).mean
        for name, build in RECONSTRUCTIONS.items()
    }
    entropy = -float((FREQUENCY * FREQUENCY.log()).nansum())
    assert means[ReconstructionName.CONTINUOUS] < 0.0
    assert means[ReconstructionName.DISCRETE] == pytest.approx(entropy, abs=0.3)
    assert means[ReconstructionName.DEQUANTISED] > entropy


@pytest.mark.statistical
@pytest.mark.parametrize("head", [False, True])
def test_a_level_head_starts_as_independent_columns(head: bool) -> None:
    """So the whole bound of the untrained model is the columns' entropy, and row by row minus the log frequency."""
    model, x = _head(), _levelled(20_000)
    given = SCHEDULES[ScheduleName.UNIFORM](-10.0, 8.0)
    reconstruction: Reconstruction = HeadReconstruction(model, LEVELS_OF) if head else Discrete(LEVELS_OF)
    bound = variational_bound(
        model,
        x,
        LEVELS[LevelsName.LOW_DISCREPANCY](given, None).levels,
        reconstruction,
        NoiseSource(0, 0, dtype=torch.float64),
        1,
    )
    chosen = (x[..., None] == LEVELS_OF).double()
    assert_mean_equals(bound.nats + (chosen * FREQUENCY.log().nan_to_num(0)).sum((1, 2)), 0.0)


def test_waves_are_orthogonal_curves_over_each_columns_own_levels() -> None:
    """With a constant they reach every vector of logits; nothing falls on levels that a column does not have."""
    found = waves(torch.tensor([5, 3, 1]), 5).double()
    assert found.shape == (3, 4, 5)
    for n, each in zip((5, 3, 1), found, strict=True):
        assert not each[n - 1 :].any()
        assert not each[:, n:].any()
        sizes = math.sqrt(n) / torch.arange(2, n + 1, dtype=torch.float64)
        own = each[: n - 1, :n]
        assert torch.allclose(own @ own.mT, torch.diag(sizes.square()), atol=1e-6)
        assert torch.allclose(own.sum(1), torch.zeros(n - 1, dtype=torch.float64), atol=1e-6)


def test_columns_of_one_grid_share_their_curves() -> None:
    """The same answers as with curves of their own."""
    same = LEVELS_OF[:1].expand(2, -1)
    model = LevelModel(_network(), same, FREQUENCY[:1].expand(2, -1)).double()
    assert model.waves.shape == (1, 2, 3)
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch_generator("test/shaken", 1))
    y, log_snr = normal("shared", 20, 2), torch.zeros(20, dtype=torch.float64)
    shared = model.log_probabilities(y, log_snr)
    model.waves = model.waves.expand(2, -1, -1)
    assert torch.allclose(model.log_probabilities(y, log_snr), shared)


def test_a_level_heads_data_are_an_expectation() -> None:
    model = _head()
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch_generator("test/shaken", 0))
    y, log_snr = 3 * normal("head", 50, 2), 10 * uniform("head", 50) - 5
    with torch.no_grad():
        probability = model.log_probabilities(y, log_snr).exp()
        data = model.data(y, log_snr)
    assert torch.allclose(probability.sum(-1), torch.ones(50, 2, dtype=torch.float64))
    assert not probability[:, 1, 2].any()
    assert torch.allclose(data, (probability * LEVELS_OF.nan_to_num(0)).sum(-1))


def test_a_level_head_learns_with_finite_gradients() -> None:
    given = SCHEDULES[ScheduleName.COSINE](-8.0, 10.0)
    model = _head()
    loss = DenoisingLoss(
        WEIGHTINGS[WeightingName.ELBO](given, model.prediction),
        NoiseLevels(given.density, Independent()),
        VariancePreserving(),
    )
    loss.gradient(model, _levelled(100), NoiseSource(0, 0, dtype=torch.float64), 64)
    gradients = [parameter.grad for parameter in model.network.parameters() if parameter.grad is not None]
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_frequencies_count_every_level() -> None:
    data = torch.tensor([[0.0, 0.5], [0.0, 0.5], [2.0, 1.5]])
    counted = level_frequencies(data, LEVELS_OF, 1.0)
    assert torch.allclose(counted[0], torch.tensor([1.0, 3.0, 2.0]).double() / 6)
    assert torch.allclose(counted[1, :2], torch.tensor([3.0, 2.0]).double() / 5)
    assert bool(counted[1, 2].isnan())


def test_a_level_head_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must have shape \(2, count\), got \(3, 2\)"):
        LevelModel(_network(), torch.zeros(3, 2), torch.ones(3, 2))
