"""The weights w(lambda) of the literature are what one rule makes of their definitions (to 1e-10, float64)."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.density import (
    Cosine,
    LevelDensity,
    LinearBeta,
    Logistic,
    Truncated,
    Uniform,
    log_normal_noise,
    logit_normal_time,
    straight,
)
from gephyra.samplers.denoising.prediction import Data, EdmOutput, FlowVelocity, Noise, Score, Velocity
from gephyra.samplers.denoising.schedule import Rectified, Schedule, VarianceExploding, VariancePreserving
from gephyra.samplers.denoising.weighting import (
    Explicit,
    PerSample,
    Weighting,
    elbo,
    implied_weight,
    mean_weight,
    min_snr,
    p2,
    sigmoid,
    simple,
    soft_min_snr,
    truncated_snr,
)

GRID = torch.linspace(-8.0, 8.0, 161, dtype=torch.float64)
VP, STRAIGHT, VE = VariancePreserving(), Rectified(), VarianceExploding()
COSINE, OT = Cosine(), straight()
TOLERANCE = 1e-10


def _curve(weighting: Weighting, schedule: Schedule, density: LevelDensity) -> Tensor:
    return implied_weight(weighting, schedule, density, GRID).weight


def _proportional(one: Tensor, other: Tensor) -> bool:
    ratio = one / other
    return bool((ratio / ratio.mean() - 1).abs().max() < TOLERANCE)


HALF = torch.exp(-GRID / 2)
SECH = 1 / torch.cosh(GRID / 2)
# Weighting, schedule, density, w(lambda) up to a constant, whether it never increases.
TABLE: dict[str, tuple[Weighting, Schedule, LevelDensity, Tensor, bool]] = {
    "elbo, cosine": (elbo(), VP, COSINE, torch.ones_like(GRID), True),
    "elbo, straight": (elbo(), STRAIGHT, OT, torch.ones_like(GRID), True),
    "elbo, linear beta": (elbo(), VP, LinearBeta(), torch.ones_like(GRID), True),
    "noise": (simple(Noise()), VP, COSINE, SECH, False),
    "data": (simple(Data()), VP, COSINE, HALF**2 * SECH, True),
    "velocity": (simple(Velocity()), VP, COSINE, HALF, True),
    "score": (simple(Score()), VP, COSINE, 1 / HALF, False),
    "flow, straight": (simple(FlowVelocity(OT)), STRAIGHT, OT, HALF, True),
    "flow, cosine": (simple(FlowVelocity(COSINE)), VP, COSINE, HALF, True),
    "indirect, straight": (simple(Data()), STRAIGHT, OT, HALF**2 / torch.cosh(GRID / 4) ** 2, True),
    "min-snr": (min_snr(5.0), VP, COSINE, SECH * (5 * HALF**2).clamp(max=1), False),
    "soft-min-snr, uniform": (soft_min_snr(5.0), VP, Uniform(-8, 8), torch.sigmoid(math.log(5) - GRID), True),
    "p2": (p2(1.0, 1.0), VP, COSINE, SECH / (1 + GRID.exp()), False),
    "p2, general": (p2(0.7, 1.3), VP, COSINE, SECH * (0.7 + GRID.exp()) ** -1.3, False),
    "sigmoid": (sigmoid(-1.0), VP, COSINE, torch.sigmoid(-1 - GRID), True),
    "truncated": (truncated_snr(), VP, COSINE, SECH * (HALF**2).clamp(min=1), True),
    "edm": (
        simple(EdmOutput(0.5)),
        VE,
        log_normal_noise(),
        torch.exp(-0.5 * ((GRID - 2.4) / 2.4) ** 2) * (HALF**2 + 0.25),
        False,
    ),
    "logit-normal": (
        simple(FlowVelocity(OT)),
        STRAIGHT,
        logit_normal_time(),
        torch.exp(-(GRID**2) / 8) * (1 + HALF) ** 2,
        False,
    ),
    "own w": (Explicit(lambda log_snr: torch.exp(-(log_snr**2))), VP, COSINE, torch.exp(-(GRID**2)), False),
    "own W": (PerSample(lambda x: x.sin() + 2), VP, Logistic(0, 2), (GRID.sin() + 2) / (GRID / 4).cosh() ** 2, False),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_implied_weight(name: str) -> None:
    weighting, schedule, density, expected, monotone = TABLE[name]
    assert _proportional(_curve(weighting, schedule, density), expected)
    assert implied_weight(weighting, schedule, density, GRID).monotone == monotone


def test_elbo_is_one_not_only_constant() -> None:
    for schedule, density in ((VP, COSINE), (STRAIGHT, OT), (VE, log_normal_noise())):
        assert (_curve(elbo(), schedule, density) - 1).abs().max() < TOLERANCE


def test_flow_matching_weight_with_its_factor() -> None:
    assert (_curve(simple(FlowVelocity(OT)), STRAIGHT, OT) / (HALF / 2) - 1).abs().max() < TOLERANCE


def test_snr_plus_one_is_the_plain_velocity_loss() -> None:
    """And P2 with gamma 1, soft-min-SNR and the sigmoid are one curve as multipliers."""
    log_snr = GRID
    level, inverse = VP.at(log_snr), torch.ones_like(log_snr)
    assert _proportional(simple(Velocity()).multiplier(level, inverse), 1 + (-log_snr).exp())
    for offset in (0.3, 1.0, 4.0):
        one = p2(offset, 1.0).multiplier(level, inverse)
        assert _proportional(one, soft_min_snr(offset).multiplier(level, inverse))
        assert _proportional(one, sigmoid(math.log(offset)).multiplier(level, inverse))


def test_edm_of_unit_data_is_the_velocity_loss() -> None:
    level, inverse = VP.at(GRID), torch.ones_like(GRID)
    of_edm, of_velocity = (simple(p).multiplier(level, inverse) for p in (EdmOutput(1.0), Velocity()))
    assert (of_edm / of_velocity - 1).abs().max() < TOLERANCE


def test_weights_of_the_edm_output_that_are_known_by_other_names() -> None:
    """On F, data_scale^2 / (noise^2 + data_scale^2) is the plain noise loss; its soft-min-SNR has gamma 4."""
    edm, level, inverse = EdmOutput(0.5), VP.at(GRID), torch.ones_like(GRID)
    noise = (-0.5 * GRID).exp()
    snr = 0.25 / (noise**2 + 0.25)
    assert (snr / edm.kappa(level) - 1).abs().max() < TOLERANCE
    assert _proportional(soft_min_snr(4.0).multiplier(level, inverse), noise**2 / (noise**2 + 0.25))


def test_peak_of_the_edm_weight() -> None:
    fine = torch.linspace(-6, 2, 8001, dtype=torch.float64)
    curve = implied_weight(simple(EdmOutput(0.5)), VE, log_normal_noise(), fine)
    assert float(fine[curve.weight.argmax()]) == pytest.approx(-3.3, abs=0.05)
    assert not curve.monotone


def test_a_curve_can_be_printed() -> None:
    velocity, noise = (implied_weight(simple(p), VP, COSINE, GRID).described(5) for p in (Velocity(), Noise()))
    assert velocity.splitlines()[0].split() == ["-8.00", "1.000e+00"]
    assert velocity.splitlines()[2].split()[1] == f"{math.exp(-4):.3e}"
    assert velocity.splitlines()[5] == "never increases with log_snr: the ELBO of data with added noise"
    assert noise.splitlines()[5] == "increases somewhere with log_snr: no ELBO"


def test_mean_weight_is_one_over_the_density_on_average() -> None:
    """Of the ELBO on a bounded density it is the width of the range."""
    density = Truncated(COSINE, -3.0, 4.0)
    assert mean_weight(elbo(), VP, density, 1 << 14) == pytest.approx(7.0, rel=1e-5)
