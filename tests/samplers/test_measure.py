"""A report on fresh paths: bounds in their order, where the upper one came from, modes, and what disagrees."""

import pytest
import torch
from torch import Tensor

from gephyra.samplers.algorithms import build
from gephyra.samplers.algorithms.parts import Ingredients
from gephyra.samplers.baseline import PriorBridge
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.components import Components
from gephyra.samplers.coordinates import Coordinates
from gephyra.samplers.counted import CountedTarget
from gephyra.samplers.evaluate import simulate_fresh
from gephyra.samplers.measure import Candidate, measure
from gephyra.samplers.mixture import MixturePrior
from gephyra.samplers.modes import modes_drawn, nearest_mode, one_each
from gephyra.samplers.prior import DiagonalPrior
from gephyra.samplers.random import torch_generator
from gephyra.samplers.report import EuboSource, Facts, PreconditionReport, Report
from gephyra.samplers.settings import Method, TrainingSettings
from gephyra.targets.base import AutogradTarget, Target
from gephyra.targets.gaussian import GaussianMixture
from tests.statistics import standard_errors

MODES = GaussianMixture([[-4.0, 0.0], [4.0, 1.0]], [[0.7, 0.7], [0.7, 0.7]], [0.3, 0.7])
NARROW = GaussianMixture([[-0.5, 0.0], [0.5, 0.5]], [[0.7, 0.9], [0.7, 0.8]], [0.4, 0.6])


def components(weights: tuple[float, float] = (0.3, 0.7)) -> Components:
    """Those of MODES, with other weights perhaps."""
    mean = torch.tensor([[-4.0, 0.0], [4.0, 1.0]], dtype=torch.float64)
    sd = torch.full((2, 2), 0.7, dtype=torch.float64)
    return Components(torch.tensor(weights, dtype=torch.float64).log(), mean, sd)


class Hidden(AutogradTarget):
    """Another target without its sampler and its log Z."""

    def __init__(self, target: Target) -> None:
        self._target, self.dim = target, target.dim

    def _log_density(self, x: Tensor) -> Tensor:
        return self._target.log_density(x)


def langevin(dim: int) -> Bridge:
    settings = TrainingSettings(method=Method.ULA, steps=8, width=8)
    return build(Ingredients(dim, settings, torch_generator("tests/measure", 0))).requires_grad_(False)


def one_mode() -> Bridge:
    """Draws at the right one of MODES only."""
    prior = DiagonalPrior(2, 0.7)
    with torch.no_grad():
        prior.mean.copy_(torch.tensor([4.0, 1.0]))
    return PriorBridge(prior).requires_grad_(False)


def report(
    bridge: Bridge, target: Target, found: Components | None = None, paths: int = 4096, modes: int | None = None
) -> Report:
    identity = Coordinates(torch.zeros(target.dim), torch.ones(target.dim))
    count = 0 if found is None else len(found.mean)
    seen = PreconditionReport("annealed", modes=count if modes is None else modes)
    facts = Facts(precondition=seen)
    return measure(Candidate(bridge, identity, found), CountedTarget(target), "tests", 0, paths, facts)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("target", "source"), [(NARROW, EuboSource.EXACT), (Hidden(NARROW), EuboSource.POLISHED)], ids=["exact", "polished"]
)
def test_bounds_are_in_order_around_log_z(target: Target, source: EuboSource) -> None:
    found = report(langevin(2), target)
    assert found.eubo is not None
    assert found.eubo_se is not None
    assert found.log_z_forward is not None
    assert found.log_z_forward_se is not None
    allowed = standard_errors()
    assert found.elbo <= allowed * found.elbo_se
    assert found.eubo >= -allowed * found.eubo_se
    assert abs(found.log_z) <= allowed * found.log_z_se
    assert abs(found.log_z_forward) <= allowed * found.log_z_forward_se
    assert found.eubo - found.elbo > 0.05
    assert (found.eubo_source, found.eubo_paths) == (source, 1024)
    assert (found.polish is None) == (source is EuboSource.EXACT)


@pytest.mark.statistical
def test_a_mode_that_is_not_drawn_is_counted_and_said() -> None:
    found = report(one_mode(), Hidden(MODES), components())
    assert (found.modes_seen, found.modes_drawn) == (2, 1)
    assert any("only 1 of the 2 modes" in warning for warning in found.warnings)


@pytest.mark.statistical
def test_exact_draws_show_what_forward_paths_miss() -> None:
    """One mode of 70 %: forward paths say log 0.7 with a tiny error, backward ones 0, and the interval reaches them."""
    found = report(one_mode(), MODES)
    assert found.log_z == pytest.approx(-0.3567, abs=0.01)
    assert found.log_z_high is not None
    assert found.log_z_high >= 0.0
    assert not found.interval_holds
    assert any("does not reach all of the target" in warning for warning in found.warnings)


def test_all_modes_drawn_is_no_worry() -> None:
    found = report(PriorBridge(MixturePrior(components())).requires_grad_(False), Hidden(MODES), components())
    assert (found.modes_seen, found.modes_drawn) == (2, 2)
    assert found.interval_holds
    assert found.warnings == ()


def test_modes_that_nobody_looked_for_are_not_counted() -> None:
    found = report(langevin(2), NARROW, paths=600)
    assert found.modes_seen is None
    assert found.modes_drawn is None


def test_components_of_one_mode_are_no_modes() -> None:
    assert report(langevin(2), NARROW, components((0.5, 0.5)), paths=600, modes=1).modes_seen is None


def test_a_mode_counts_from_a_tenth_of_its_share() -> None:
    mode = torch.tensor([0] * 4 + [1] * 96)
    even = torch.zeros(100, dtype=torch.float64)
    assert modes_drawn(mode, even, components((0.3, 0.7))) == 2
    assert modes_drawn(mode, even, components((0.5, 0.5))) == 1
    # Weights count, not draws.
    assert modes_drawn(mode, even.index_fill(0, torch.arange(4), 3.0), components((0.5, 0.5))) == 2


def test_the_nearest_mode_is_measured_in_its_own_scale() -> None:
    mean = torch.tensor([[0.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
    sd = torch.tensor([[2.0, 1.0], [0.5, 1.0]], dtype=torch.float64)
    u = torch.tensor([[2.0, 0.0], [3.1, 0.0]])
    for tril in (sd, torch.diag_embed(sd)):
        assert nearest_mode(u, Components(torch.zeros(2), mean, tril)).tolist() == [0, 1]


def test_evaluations_are_counted_and_progress_ends() -> None:
    counted, told = CountedTarget(NARROW), list[float]()
    identity = Coordinates(torch.zeros(2), torch.ones(2))
    found = measure(Candidate(langevin(2), identity, None), counted, "tests", 0, 1000, Facts(), told.append)
    # Two whole blocks forward, 512 paths back: eight transitions, nine points each.
    assert found.target_evaluations == counted.evaluations == (1024 + 512) * 9
    assert told == [pytest.approx(k / 3) for k in (1, 2, 3)]


def test_the_pool_is_of_path_ends_with_weight() -> None:
    target = GaussianMixture([[0.0]], [[1.0]])
    bridge = PriorBridge(DiagonalPrior(1)).requires_grad_(False)
    fresh = simulate_fresh(bridge, target, None, "tests/pool", 0, 700, 300)
    assert fresh.log_weight.shape == (700,)
    # 512 and 188 paths of 700: their shares of 300, rounded up.
    assert fresh.pool.u.shape == (220 + 81, 1)
    assert fresh.pool.ancestor.unique().shape == fresh.pool.ancestor.shape


def test_a_report_survives_json() -> None:
    found = report(langevin(2), Hidden(NARROW), paths=600)
    assert found.polish is not None
    assert Report.from_json(found.to_json()) == found


def test_a_grown_mixture_counts_by_its_first_components() -> None:
    """Three components, two modes: the third, beside the second mode, adds its weight to it."""
    weight = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    mean = torch.tensor([[-5.0, 0.0], [5.0, 0.0], [6.0, 1.0]], dtype=torch.float64)
    grown = Components(weight.log(), mean, torch.eye(2, dtype=torch.float64).expand(3, 2, 2))
    modes = one_each(grown, 2)
    assert torch.allclose(modes.log_weight.exp(), torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert torch.equal(modes.mean, mean[:2])
