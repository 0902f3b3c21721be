"""A warm start from draws of the target: its gradient, its cost, exact resume, what the report makes of the draws."""

from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.warm_start import Hidden
from gephyra.samplers.given import GivenDraws, checked_rows, part_rows
from gephyra.samplers.losses import forward_kl, forward_kl_reweighted
from gephyra.samplers.noise import NoiseSource
from gephyra.samplers.objective import descend
from gephyra.samplers.objectives.detached import DetachedObjective
from gephyra.samplers.objectives.warm import WarmStart
from gephyra.samplers.report import EuboSource, Metrics, Report
from gephyra.samplers.run import StopTraining, TrainingFailed
from gephyra.samplers.sampler import Sampler
from gephyra.samplers.session import train
from gephyra.samplers.settings import Budget, Goal, Loss, Method, Precondition, TrainingSettings
from gephyra.samplers.simulate import simulate_backward
from gephyra.samplers.weigh import PathWeights, path_weights
from gephyra.targets.base import Target
from gephyra.targets.gaussian import Gaussian
from gephyra.targets.program import Site
from tests.samplers.bridges import OneStepBridge, UnnormalisedNormal, random_bridge
from tests.statistics import assert_mean_equals

NORMAL = Gaussian([0.5, -0.5], [0.8, 1.2])
TARGET = Hidden(NORMAL)


def rows(number: int = 2000, seed: int = 1) -> Tensor:
    found = NORMAL.sample(number, torch.Generator().manual_seed(seed))
    assert found is not None
    return found


def settings(**changes: object) -> TrainingSettings:
    small = {"budget": Budget(iterations=60), "batch_size": 64, "steps": 4, "width": 8, "method": Method.DDS}
    return TrainingSettings(**{**small, "precondition": Precondition.NONE, **changes})  # type: ignore[arg-type]


def test_the_reweighted_gradient_is_the_plain_one_where_nothing_has_moved() -> None:
    grads = []
    for kind in (0, 1):
        bridge = random_bridge(Method.DBS, 2, steps=3, networks=0.3).double()
        noise = NoiseSource(0, 0, dtype=torch.float64)
        path = simulate_backward(bridge, NORMAL, rows(32).double(), noise.normal((4, 32, 2)))
        drawn = path_weights(bridge, path).backward.sum(0)
        descend(bridge, path, (forward_kl, lambda weights, p=drawn: forward_kl_reweighted(weights, p))[kind])
        grads.append([p.grad for p in bridge.parameters() if p.grad is not None])
    assert len(grads[0]) > 10
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(*grads, strict=True))


A, B, S, M, TAU = 0.3, -0.5, 0.8, 1.0, 0.5


def test_paths_of_earlier_kernels_give_the_gradient_of_the_eubo_now() -> None:
    """The closed form of `test_golden_gradients`, from paths that B with another b and s has drawn."""
    golden = ((A + B) / S**2, M + B + (A + B) / S**2, S - (A + B) ** 2 / S**3)
    target, earlier = UnnormalisedNormal(M, TAU), OneStepBridge(A, B + 0.1, S + 0.05)
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(200):
        end, noise = torch.randn(2, 4000, 1, generator=generator, dtype=torch.float64)
        path = simulate_backward(earlier, target, M + TAU * end, torch.stack([torch.zeros_like(noise), noise]))
        drawn, bridge = path_weights(earlier, path).backward.sum(0), OneStepBridge(A, B, S)

        def loss(weights: PathWeights, drawn: Tensor = drawn) -> object:
            return forward_kl_reweighted(weights, drawn)

        descend(bridge, path, loss)  # type: ignore[arg-type]
        found.append(torch.stack([p.grad for p in bridge.parameters() if p.grad is not None]).numpy())
    assert_mean_equals(found, golden)


def test_no_distinct_row_is_in_two_parts_and_copies_stay_together() -> None:
    single = rows(300).double()
    chain = single[torch.randint(300, (1000,), generator=torch.Generator().manual_seed(0))]
    parts = part_rows(chain, seed=3)
    assert sum(map(len, parts)) == len(chain)
    distinct = [{tuple(row) for row in part.tolist()} for part in parts]
    assert sum(map(len, distinct)) == len({tuple(row) for row in chain.tolist()})
    assert len(distinct[2]) == pytest.approx(len(distinct[0]) + len(distinct[1]), abs=1)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(parts, part_rows(chain, seed=3), strict=True))
    pool = parts.pool(200)
    assert len(pool.u) == 200
    assert len(pool.ancestor.unique()) == len({tuple(row) for row in pool.u.tolist()}) < 200


class _Sited(Hidden):
    sites = (Site("mu", (), "float32"), Site("tau", (), "float32"))


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (rows(50)[:, :1], r"\(rows, 2\).*sites in order: mu \(\), tau \(\)\), got \(50, 1\)"),
        (rows(50)[0], r"got \(2,\)"),
        (torch.cat([rows(50), torch.tensor([[0.0, torch.nan]])]), "got nan in row 50, column 1"),
        (torch.cat([torch.tensor([[0.0, -torch.inf]]), rows(50)]), "got -inf in row 0, column 1"),
        (rows(10).repeat(100, 1), "16 distinct rows or more, got 10"),
    ],
)
def test_rows_that_are_no_draws_of_the_target_are_refused(samples: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        checked_rows(samples, _Sited(NORMAL))
    with pytest.raises(TrainingFailed, match=said) as failure:
        train(_Sited(NORMAL), settings(), samples=samples)
    assert failure.value.reason == "UNSUITABLE_DATA"


def told(target: Target, chosen: TrainingSettings, samples: Tensor | None) -> tuple[Sampler, list[Metrics]]:
    seen: list[Metrics] = []
    sampler = train(target, chosen, samples=samples, on_metrics=seen.append, clock=map(float, count()).__next__)
    return sampler, [metrics for metrics in seen if metrics.stage in ("warm-start", "train")]


def test_a_warm_start_costs_a_fraction_of_the_evaluations_and_leaves_the_rest_to_the_loss() -> None:
    _, cold = told(TARGET, settings(), None)
    a_step = cold[-1].target_evaluations / 60
    _, warm = told(TARGET, settings(), rows())
    spent = [later.target_evaluations - earlier.target_evaluations for earlier, later in pairwise(warm)]
    # Within a pool the few watched paths are all that is evaluated; a third of the budget at most is a warm start.
    assert min(spent) == a_step / 32
    assert spent[-1] == a_step
    assert sum(each != a_step for each in spent) <= 20
    assert warm[19].target_evaluations < cold[19].target_evaluations


def draws(sampler: Sampler) -> Tensor:
    return torch.cat([torch.cat([part.x.double(), part.log_weight[:, None]], 1) for part in sampler.draw(1, 0, 300)])


@pytest.mark.parametrize("loss", [Loss.RKL_LD, Loss.TR_LV, Loss.FKL])
def test_stopping_and_resuming_is_exact(tmp_path: Path, loss: Loss) -> None:
    """In the middle of a pool of the warm start, twice, and after it."""
    chosen, given = settings(loss=loss, goal=Goal(gap=1e-9)), rows()
    whole = train(TARGET, chosen, samples=given)
    for limit in (5, 8, 30):
        stop = map(limit.__lt__, count()).__next__
        with pytest.raises(StopTraining):
            train(TARGET, chosen, samples=given, checkpoint_folder=tmp_path, should_stop=stop)
    resumed = train(TARGET, chosen, samples=given, checkpoint_folder=tmp_path)
    assert torch.equal(draws(whole), draws(resumed))
    assert replace(whole.report, times=resumed.report.times) == resumed.report


def warm_start(given: GivenDraws, method: Method = Method.DDS) -> tuple[WarmStart, torch.nn.Module]:
    bridge = random_bridge(method, 2, steps=4)
    return WarmStart(bridge, settings(), given, DetachedObjective(forward_kl)), bridge


def test_nothing_learns_from_the_rows_that_are_measured() -> None:
    grads = []
    for measured in (torch.zeros(1000, 2), torch.full((1000, 2), torch.nan)):
        objective, bridge = warm_start(part_rows(rows().double(), 0)._replace(measuring=measured))
        objective.gradient(bridge, TARGET, NoiseSource(0, 0), 64)  # type: ignore[arg-type]
        grads.append([p.grad for p in bridge.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_a_warm_start_is_over_where_the_eubo_falls_no_more() -> None:
    """The kernels are not moved here, so that all pools say the same: three comparisons end it."""
    objective, bridge = warm_start(part_rows(rows().double(), 0))
    # A pool a call: it lasts so many steps at most.
    calls = [objective.gradient(bridge, TARGET, NoiseSource(0, 24 * call), 64) for call in range(40)]  # type: ignore[arg-type]
    ended = [gradient.warming for gradient in calls].index(False)
    assert 20 < ended < 40
    assert not any(gradient.warming for gradient in calls[ended:])


def both_sides(report: Report, log_z: float = 0.0) -> None:
    assert report.eubo is not None
    assert report.eubo_se is not None
    assert report.elbo - 5 * report.elbo_se <= log_z <= report.eubo + 5 * report.eubo_se


@pytest.mark.parametrize("method", [Method.DBS, Method.DDS, Method.PIS, Method.DBS_UD])
def test_the_report_has_both_sides_from_the_given_draws(method: Method) -> None:
    report = train(TARGET, settings(method=method), samples=rows()).report
    assert (report.eubo_source, report.eubo_paths, report.polish) == (EuboSource.GIVEN, 1000, None)
    both_sides(report)


def test_exact_draws_of_the_target_come_first_in_the_report() -> None:
    assert train(NORMAL, settings(), samples=rows()).report.eubo_source is EuboSource.EXACT


def test_draws_of_something_else_are_told_from_draws_of_the_target() -> None:
    good = train(TARGET, settings(), samples=rows()).report
    assert not any("samples" in warning for warning in good.warnings)
    # Half the width: all of them are likely points, too likely to be draws.
    narrow = (rows() - torch.tensor([0.5, -0.5])) * 0.3 + torch.tensor([0.5, -0.5])
    chosen = settings(budget=Budget(iterations=200), steps=8)
    wrong = train(TARGET, chosen, samples=narrow).report
    assert any("the samples behind it are no draws" in warning for warning in wrong.warnings), wrong


def test_coordinates_of_a_preconditioner_apply_to_the_draws_too() -> None:
    report = train(TARGET, settings(precondition=Precondition.GAUSSIAN), samples=rows()).report
    assert report.eubo_source is EuboSource.GIVEN
    both_sides(report)
