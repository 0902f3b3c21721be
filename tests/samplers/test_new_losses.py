"""What sub-trajectory balance, the forward KL and the trust region claim beyond the one-step bridge's closed forms."""

import math

import pytest
import torch
from torch import Tensor

from gephyra.samplers import run, session
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.losses import PathCoefficients, reverse_kl_log_derivative
from gephyra.samplers.noise import NoiseSource
from gephyra.samplers.objective import descend
from gephyra.samplers.objectives.inputs import ObjectiveInputs
from gephyra.samplers.objectives.subtb import SubTrajectoryBalance, piece_weights
from gephyra.samplers.objectives.trust import TrustRegionLogVariance, temper
from gephyra.samplers.random import torch_generator
from gephyra.samplers.report import Metrics
from gephyra.samplers.samples import drawing, resampled
from gephyra.samplers.settings import Budget, Loss, Method
from gephyra.samplers.simulate import simulate
from gephyra.samplers.weigh import PathWeights, path_weights
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from tests.samplers.bridges import UnnormalisedNormal, objective_of, random_bridge
from tests.samplers.test_session import TARGET, settings
from tests.statistics import assert_mean_equals

STEPS = 5
NORMAL = UnnormalisedNormal(0.5, 0.7, 2)


def test_piece_weights_are_a_law_over_pairs() -> None:
    weights = piece_weights(4, 0.5)
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    total = sum(0.5 ** (j - i) for i, j in pairs)
    for i, j in pairs:
        assert float(weights[i, j]) == float(weights[j, i]) == pytest.approx(0.5 ** (j - i) / total)
    assert float(sum(weights[i, j] for i, j in pairs)) == pytest.approx(1.0)


@pytest.mark.parametrize("decay", [0.3, 0.9, 1.0])
def test_subtb_is_the_gradient_of_the_double_sum(decay: float) -> None:
    """Against autograd through sum_{i<j} c_ij (A_i - A_j)^2 / 2, piece by piece, for flows and kernels alike."""
    bridge = random_bridge(Method.DBS, 2, steps=STEPS, networks=0.3).double()
    objective = SubTrajectoryBalance(_inputs(bridge), decay)
    with torch.no_grad():
        objective.network.outlet.weight.add_(0.3)
    noise = NoiseSource(0, 0, dtype=torch.float64)
    objective.gradient(bridge, NORMAL, noise, 16)
    found = _gradients(bridge, objective)
    with torch.no_grad():
        path = simulate(bridge, NORMAL, noise.normal((bridge.noise_rows, 16, 2)))
    increments, start = bridge.increments(path, 0, STEPS), bridge.start_log_density(path.state[0])
    flows = list(objective._flows(bridge, path, path_weights(bridge, path)))
    # The law of the start is part of the kernels, too: log p_0 is live where a path starts.
    flows[0] = flows[0] - start.detach() + start
    loss = torch.zeros(())
    weights = piece_weights(STEPS, decay)
    for i in range(STEPS + 1):
        for j in range(i + 1, STEPS + 1):
            piece = (increments.forward - increments.backward)[i:j].sum(0)
            loss = loss + 0.5 * weights[i, j] * (flows[i] + piece - flows[j]).square().mean()
    for parameter in [*bridge.parameters(), *objective.parameters()]:
        parameter.grad = None
    loss.backward()
    for name, gradient in _gradients(bridge, objective).items():
        assert torch.allclose(found[name], gradient, rtol=1e-8, atol=1e-10), name


def _inputs(bridge: Bridge) -> ObjectiveInputs:
    return ObjectiveInputs(settings(loss=Loss.SUBTB), bridge, torch_generator("tests/objective", 0))


def _gradients(*modules: torch.nn.Module) -> dict[str, Tensor]:
    named = [(f"{k}.{name}", p) for k, module in enumerate(modules) for name, p in module.named_parameters()]
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("radius", [0.01, 0.1, 1.0])
def test_temper_solves_the_dual(radius: float) -> None:
    """t = 1 / (1 + lambda) for the lambda that maximises -lambda eps - (1 + lambda) log E[w^(1 / (1 + lambda))]."""
    log_weight = 3.0 * torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = temper(log_weight, radius)
    share = (t * log_weight).softmax(0)
    assert float((share * (share * 500).log()).sum()) == pytest.approx(radius, rel=1e-5)

    def dual(lam: float) -> float:
        power = 1.0 / (1.0 + lam)
        return -lam * radius - (1.0 + lam) * float(torch.logsumexp(power * log_weight, 0) - math.log(500))

    best = 1.0 / t - 1.0
    assert all(dual(best) >= dual(best + change) for change in (-0.05, -0.01, 0.01, 0.05))


def test_weights_within_the_region_are_not_tempered() -> None:
    assert temper(torch.tensor([0.1, 0.0, -0.1, -torch.inf], dtype=torch.float64)) == 1.0
    assert temper(torch.full((10,), 3.0, dtype=torch.float64)) == 1.0


def test_trust_region_starts_as_tempered_reverse_kl() -> None:
    """Right after a refresh its gradient is t times that of rKL-LD without its shared term, on the same paths."""
    first, second = (random_bridge(Method.DBS, 2, steps=STEPS, networks=0.3).double() for _ in range(2))
    noise = NoiseSource(0, 0, dtype=torch.float64)
    objective = objective_of(first, Loss.TR_LV, batch=32)
    assert isinstance(objective, TrustRegionLogVariance)
    # As large a minibatch as there are stored paths: all of them.
    objective.gradient(first, NORMAL, noise, 10**6)
    buffer = objective._buffer
    assert buffer is not None

    def plain(weights: PathWeights) -> PathCoefficients:
        exact = reverse_kl_log_derivative(weights)
        return exact._replace(start=exact.start - exact.shared, shared=torch.zeros_like(exact.shared))

    descend(second, buffer.path, plain)
    assert 0 < buffer.temper < 1
    for (name, p), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert p.grad is not None
        assert other.grad is not None
        assert torch.allclose(p.grad, buffer.temper * other.grad, rtol=1e-6, atol=1e-9), name


def test_trust_region_evaluates_the_target_at_refreshes_only() -> None:
    counts = []
    for loss in (Loss.LV, Loss.TR_LV):
        told: list[Metrics] = []
        session.train(TARGET, settings(loss=loss, budget=Budget(iterations=32)), on_metrics=told.append)
        counts.append([m.target_evaluations for m in told if m.stage == "train"][-1])
    assert counts[0] == 4 * counts[1]


def test_forward_kl_without_draws_says_what_to_do() -> None:
    with pytest.raises(run.TrainingFailed, match="start from an earlier sampler") as failure:
        session.train(_WithoutDraws(0.5, 0.7, 2), settings(loss=Loss.FKL))
    assert failure.value.reason == "NO_SAMPLES"


class _WithoutDraws(UnnormalisedNormal):
    def sample(self, count: int, generator: torch.Generator) -> Tensor | None:
        return None


def test_forward_kl_goes_on_from_the_draws_of_an_earlier_sampler() -> None:
    target = _WithoutDraws(0.5, 0.7, 2)
    first = session.train(target, settings(budget=Budget(iterations=60)))
    later = session.train(target, settings(loss=Loss.FKL, budget=Budget(iterations=60)), start=first)
    assert target.log_z is not None
    assert abs(later.report.log_z - target.log_z) < 6 * later.report.log_z_se + 1e-3
    assert later.report.elbo > first.report.elbo - 0.1


def test_resampled_draws_have_the_law_of_the_target() -> None:
    target = GaussianMixture([[-0.8], [0.9]], [[0.5], [0.5]], [0.3, 0.7])
    bridge = random_bridge(Method.DBS, 1, steps=4, scale=1.2, sigma=None)
    draws = resampled(bridge, target, 0)
    # Resampling repeats draws: batches of independent seeds, not draws, are what averages.
    means = [float(resampled(bridge, target, seed).mean()) for seed in range(20)]
    assert draws.shape == (4096, 1)
    assert_mean_equals(means, 0.3 * -0.8 + 0.7 * 0.9)


def test_exact_draws_come_before_a_pool() -> None:
    pool = torch.full((3, 2), 7.0)
    generator = torch.Generator().manual_seed(0)
    exact = drawing(Gaussian([0.0, 0.0], [1.0, 1.0]), pool)
    from_pool = drawing(_WithoutDraws(0.5, 0.7, 2), pool)
    assert exact is not None
    assert from_pool is not None
    assert bool((exact(5, generator) != 7.0).all())
    assert torch.equal(from_pool(5, generator), torch.full((5, 2), 7.0))
    assert drawing(_WithoutDraws(0.5, 0.7, 2), None) is None
