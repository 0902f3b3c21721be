"""A goal ends a run early, and only by cooling down; a budget ends it in its own unit."""

import math

import pytest

from gephyra.samplers.goal import CoolDown, Rough
from gephyra.samplers.settings import Budget, Goal

GOOD = Rough(loss=0.0, elbo=-0.05, log_z=0.0, ess_fraction=0.9)
BAD = Rough(loss=1.0, elbo=-1.0, log_z=0.0, ess_fraction=0.3)
NOTHING = Rough(math.nan, math.nan, math.nan, math.nan)


@pytest.mark.parametrize("goal", [Goal(ess_fraction=0.8), Goal(gap=0.1), Goal(ess_fraction=0.99, gap=0.1)])
def test_a_goal_once_reached_shortens_the_run(goal: Goal) -> None:
    cool_down = CoolDown(goal)
    for rough in (NOTHING, BAD):
        assert not cool_down.reached(rough)
        assert cool_down.fraction(0.35) == 0.35
    assert cool_down.reached(GOOD)
    cool_down.note(0.4)
    shares = [cool_down.fraction(0.4 + 0.01 * k) for k in range(7)]
    assert shares[0] == 0.4
    assert shares == sorted(shares)
    assert all(share < 1.0 for share in shares[:-1])
    assert shares[-1] == pytest.approx(1.0)
    cool_down.note(0.45)
    assert cool_down.fraction(0.46) == pytest.approx(1.0)


def test_no_goal_changes_nothing() -> None:
    cool_down = CoolDown(Goal())
    assert not cool_down.reached(GOOD)
    assert [cool_down.fraction(share) for share in (0.4, 0.7, 1.0)] == [0.4, 0.7, 1.0]


def test_a_goal_reached_late_does_not_lengthen_the_run() -> None:
    cool_down = CoolDown(Goal(gap=0.1))
    cool_down.note(0.95)
    assert all(cool_down.fraction(share) >= share for share in (0.95, 0.97, 0.99, 1.0))
    assert cool_down.fraction(1.0) == 1.0


def test_a_restored_cool_down_goes_on() -> None:
    first, second = CoolDown(Goal(gap=0.1)), CoolDown(Goal(gap=0.1))
    first.note(0.4)
    second.restore(first.state())
    assert second.fraction(0.43) == first.fraction(0.43) > 0.43


@pytest.mark.parametrize(
    ("budget", "used"),
    [
        (Budget(iterations=20), (5, 0.0, 0)),
        (Budget(seconds=20.0), (0, 5.0, 0)),
        (Budget(target_evaluations=20), (0, 0.0, 5)),
    ],
)
def test_a_budget_counts_its_own_unit(budget: Budget, used: tuple[int, float, int]) -> None:
    step, seconds, evaluations = used
    assert budget.fraction(step, seconds, evaluations) == 0.25
    assert budget.fraction(100 * step, 100 * seconds, 100 * evaluations) == 1.0
    others = [0 if number else 1000 for number in (step, int(seconds), evaluations)]
    assert budget.fraction(others[0], others[1], others[2]) == 0.0


def test_before_the_first_step_iterations_are_the_evaluations_that_they_take() -> None:
    long, short = Budget(iterations=1000), Budget(iterations=1)
    assert long.fraction_before_steps(9.0, 1_000_000, 4000) == 0.25
    assert long.fraction_before_steps(9.0, 8_000_000, 4000) == 1.0
    assert 0.0 < short.fraction_before_steps(9.0, 100_000, 4000) < 0.5
    assert Budget(seconds=20.0).fraction_before_steps(5.0, 1_000_000, 4000) == 0.25
