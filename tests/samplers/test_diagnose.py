"""Every number that should worry a reader has its sentence; a good report has none."""

import math
from dataclasses import replace
from typing import Any

import pytest

from gephyra.samplers.diagnose import contrast, diagnose, sides_disagree
from gephyra.samplers.report import EuboSource, PolishReport, PreconditionReport, Report, Served

GOOD = Report(
    elbo=-1.1,
    elbo_se=0.01,
    log_z=-1.0,
    log_z_se=0.01,
    log_z_low=-1.02,
    log_z_high=-0.98,
    interval_holds=True,
    ess_fraction=0.6,
    k_hat=0.3,
    k_hat_limit=0.7,
    paths=16384,
    seed=0,
    eubo=-0.9,
    eubo_se=0.01,
    eubo_source=EuboSource.EXACT,
    eubo_paths=4096,
    log_z_forward=-0.99,
    log_z_forward_se=0.01,
    modes_seen=4,
    modes_drawn=4,
    reference_log_z=-1.0,
    polish=PolishReport(4096, 20, 0.5, None, 0.57, mean_shift=0.05, sd_shift=0.02, shift_se=0.02),
)
WORRIES: dict[str, tuple[dict[str, Any], str]] = {
    "k-hat": ({"k_hat": 0.75}, "k-hat 0.75 is above 0.70"),
    "few paths": ({"k_hat": math.nan, "paths": 10}, "10 paths are too few"),
    "k-hat of few paths": ({"k_hat": 0.6, "paths": 100}, "k-hat 0.60 is above 0.50"),
    "no upper end": ({"log_z_high": None}, "log Z has no upper end"),
    "ess": ({"ess_fraction": 0.01}, "effective sample size is 1.0 %"),
    "ends": ({"precondition": PreconditionReport("auto", beyond=0.012)}, "1.2 % of Z or more lie in ends"),
    "modes": ({"modes_drawn": 3}, "only 3 of the 4 modes"),
    "reference": ({"reference_log_z": -0.9}, "contradicts the known value -0.900"),
    "two sides": ({"log_z_forward": 0.5}, "paths back from exact draws of the target put log Z at 0.500"),
    "false bound": ({"eubo_source": EuboSource.POLISHED, "eubo": -1.2}, "which no upper bound does"),
    "shift": (
        {"polish": PolishReport(9, 20, 0.5, None, 0.57, 0.3, 0.0, 0.02)},
        "moved the mean of a coordinate by 0.3",
    ),
    "non-finite": ({"non_finite_paths": 3}, "3 of 16384 paths met"),
    "baseline": ({"served": Served.BASELINE}, "training did not pay"),
}


def test_a_good_report_has_no_warning() -> None:
    assert diagnose(GOOD) == ()


@pytest.mark.parametrize("name", WORRIES)
def test_one_worry_is_one_sentence(name: str) -> None:
    changes, words = WORRIES[name]
    (sentence,) = diagnose(replace(GOOD, **changes))
    assert words in sentence


def test_what_an_older_report_does_not_say_is_no_worry() -> None:
    old = Report(elbo=-1.1, elbo_se=0.01, log_z=-1.0, log_z_se=0.01, ess_fraction=0.6, k_hat=0.3, paths=16384, seed=0)
    assert diagnose(old) == ()


def test_polished_draws_do_not_contradict() -> None:
    """They come from the sampler: only exact draws know what it misses."""
    far = replace(GOOD, log_z_forward=2.0)
    assert sides_disagree(far)
    assert not sides_disagree(replace(far, eubo_source=EuboSource.POLISHED))
    assert not sides_disagree(replace(far, log_z_forward=-5.0))


@pytest.mark.parametrize(("away", "worries"), [(0.027, 0), (0.029, 1), (-0.029, 1)])
def test_two_evaluations_are_held_against_each_other(away: float, worries: int) -> None:
    """1.96 times the root of two times 0.01 is 0.0277."""
    assert len(contrast(replace(GOOD, log_z=GOOD.log_z + away), GOOD)) == worries
