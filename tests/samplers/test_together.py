"""k workers with a kth of the batch each find the gradient that one finds: the number of workers changes rounding only.

Workers are threads of this process over real sockets. Everything is in double precision, where rounding is 1e-16.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gephyra.samplers.bridge import Bridge
from gephyra.samplers.given import part_rows
from gephyra.samplers.group import Alone, Group
from gephyra.samplers.objective import Objective
from gephyra.samplers.objectives.start import warm_start
from gephyra.samplers.optimise import Optimiser
from gephyra.samplers.random import rough_normal_columns, rough_normal_noise
from gephyra.samplers.settings import Loss, Method, TrainingSettings
from gephyra.targets.base import OpaqueTarget, Target
from tests.samplers.bridges import UnnormalisedNormal, objective_of, random_bridge
from tests.samplers.together import together

DIM, BATCH = 3, 12


class Holed(OpaqueTarget):
    """A normal, but not a number where the first coordinate is beyond 1: some paths are of no use."""

    dim = DIM

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hole = torch.where(x[:, :1] > 1.0, torch.nan, 0.0)
        return -0.5 * x.square().sum(-1) + hole[:, 0], hole - x

    def sample(self, count: int, generator: torch.Generator) -> Tensor | None:
        return torch.randn(count, DIM, generator=generator, dtype=torch.float64)


class Case(NamedTuple):
    """A loss on a bridge."""

    method: Method = Method.DBS
    loss: Loss = Loss.RKL_LD
    reward_to_go: bool = False
    warm: bool = False

    def bridge(self) -> Bridge:
        return random_bridge(self.method, DIM, steps=5, networks=0.1).double()

    def objective(self, bridge: Bridge, target: Target) -> Objective:
        found = objective_of(bridge, self.loss, target, BATCH, reward_to_go=self.reward_to_go)
        if self.warm:
            rows = 0.7 * torch.randn(64, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
            found = warm_start(bridge, self.settings(), part_rows(rows, 0), found)
        return found.double()

    def settings(self) -> TrainingSettings:
        return TrainingSettings(method=self.method, loss=self.loss, reward_to_go=self.reward_to_go, batch_size=BATCH)


CASES = {
    "rkl-ld": Case(),
    "rkl-ld, reward to go": Case(reward_to_go=True),
    **{loss.value: Case(loss=loss) for loss in Loss if loss is not Loss.RKL_LD},
    "no networks": Case(Method.ULA),
    "mirrored": Case(Method.CMCD),
    "underdamped": Case(Method.DIS_UD),
    "underdamped, sub-trajectories": Case(Method.DIS_UD, Loss.SUBTB),
    "warm": Case(warm=True),
    "warm, log Z learned": Case(loss=Loss.TB, warm=True),
    "denoiser": Case(Method.DDPM),
    "denoiser, warm": Case(Method.DDPM, warm=True),
}
TARGETS: dict[str, Target] = {"smooth": UnnormalisedNormal(0.5, 0.7, DIM), "holed": Holed()}


class Found(NamedTuple):
    """Of some steps from the same start."""

    gradient: Tensor
    """The last one, summed over workers."""
    log_weight: Tensor
    parameters: Tensor


def steps(case: Case, target: Target, group: Group, count: int) -> Found:
    """Take optimiser steps with this worker's share."""
    bridge = case.bridge()
    objective = case.objective(bridge, target)
    optimiser = Optimiser(bridge, objective, case.settings(), group)
    for _ in range(count - 1):
        optimiser.advance(target, 0.1)
    seen = optimiser.advance(target, 0.1)
    trained = [p for module in (bridge, objective) for p in module.parameters() if p.requires_grad]
    flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    gradient = group.sum(torch.cat([part.flatten().double() for part in flat]))
    return Found(gradient, seen.log_weight, nn.utils.parameters_to_vector(trained).detach())


def off(ours: Tensor, theirs: Tensor) -> float:
    """Relative distance."""
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_shares_of_a_gradient_add_up_to_that_of_one_worker(name: str, target: str, tmp_path: Path) -> None:
    case = CASES[name]
    alone = steps(case, TARGETS[target], Alone(), 1)
    for found in together(tmp_path, 3, lambda group: steps(case, TARGETS[target], group, 1)):
        assert off(found.gradient, alone.gradient) < 1e-10
        torch.testing.assert_close(found.log_weight, alone.log_weight, rtol=1e-10, atol=1e-10)


QUICK = {"rkl-ld", "rkl-ld, reward to go", "lv", "tb", "rkl-r", "tr-lv", "warm"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in CASES])
def test_twenty_steps_of_two_workers_end_where_those_of_one_do(name: str, tmp_path: Path) -> None:
    case, target = CASES[name], TARGETS["smooth"]
    alone = steps(case, target, Alone(), 20)
    first, second = together(tmp_path, 2, lambda group: steps(case, target, group, 20))
    assert off(first.parameters, alone.parameters) < 1e-8
    assert torch.equal(first.parameters, second.parameters)


def test_the_laws_above_are_about_paths_that_are_lost_and_gradients_that_are_not_nothing() -> None:
    found = steps(CASES["rkl-ld"], TARGETS["holed"], Alone(), 1)
    thirds = found.log_weight.isfinite().view(3, -1).sum(1).tolist()
    assert len(set(thirds)) > 1
    assert found.gradient.norm() > 0.1


@pytest.mark.parametrize("shape", [(5, 12, 3), (4, 7, 1), (3, 64, 5), (9, 3, 26)])
def test_own_columns_of_the_noise_are_those_of_the_whole(shape: tuple[int, int, int]) -> None:
    whole = rough_normal_noise(shape, "tests", 3, 4)
    ends = np.random.default_rng(0).integers(0, shape[1] + 1, (50, 2))
    for first, last in np.sort(ends, 1).tolist():
        columns = slice(first, last)
        assert torch.equal(rough_normal_columns(shape, columns, "tests", 3, 4), whole[:, columns])
