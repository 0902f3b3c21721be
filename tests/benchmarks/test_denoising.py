"""The sets of the comparative study have the densities that they are said to have; its cells train, and are told."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.denoising import PREDICTIONS, SETS, Row, Sets, cells, load, run, settings_of, table, without_model
from benchmarks.planar import PLANAR, PUBLISHED, sample
from gephyra.samplers.denoising.settings import Head, PredictionName, WeightingName
from tests.statistics import assert_mean_equals, standard_errors

Array = NDArray[np.float64]
SPANS = {"cluster": (-12, 12), "ring": (-6, 11), "swiss": (-18, 18), "waves": (-0.25, 1.2)}


def _grid(name: str) -> tuple[Array, float]:
    """Cells' centres where the law has all its mass, `cells x 2`, and the area of a cell."""
    low, high = SPANS[name]
    count = 60 if name == "swiss" else 400
    side = low + (high - low) * (np.arange(count) + 0.5) / count
    centres = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    inside = (centres[:, 0] > 0) & (centres[:, 0] < 1) if name == "waves" else np.full(len(centres), True)
    return centres[inside], ((high - low) / count) ** 2


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", PLANAR)
def test_draws_follow_the_density(name: str) -> None:
    """Whose integral is one; mean log density, means and variances of draws are the density's."""
    planar = PLANAR[name]
    centres, area = _grid(name)
    log_density = planar.log_density(centres)
    assert float(np.exp(log_density).sum()) * area == pytest.approx(1.0, rel=0.01)
    mass = np.exp(log_density) / np.exp(log_density).sum()
    x = sample(name, "test", 4000, 0)
    raw = planar.mean + planar.sd * x
    assert_mean_equals(np.stack([x, x**2 - 1], 1), np.zeros((2, 2)))
    values = planar.log_density(raw)
    # A hundredth for the grid.
    error = 0.01 + standard_errors() * float(values.std()) / math.sqrt(len(values))
    assert float(values.mean()) == pytest.approx(float(mass @ log_density), abs=error)
    jacobian = planar.standard_log_density(x) - values
    assert np.allclose(jacobian, math.log(planar.sd[0] * planar.sd[1]))


def test_parts_of_a_set_are_independent() -> None:
    assert not np.array_equal(sample("ring", "exact", 5, 0), sample("ring", "other", 5, 0))
    assert np.array_equal(sample("ring", "exact", 5, 0), sample("ring", "exact", 5, 0))


def test_the_studys_figures_say_what_it_read_from_them() -> None:
    """denoising.md, 0.2: velocities have the least error of the covariance everywhere, of the mean but once."""
    best = [
        min(PREDICTIONS, key=lambda each: PUBLISHED[name, each, weighting].covariance)
        for name in PLANAR
        for weighting in (WeightingName.ELBO, WeightingName.SIMPLE)
    ]
    assert set(best) == {PredictionName.VELOCITY}
    means = [
        sum(
            min(PREDICTIONS, key=lambda each: PUBLISHED[name, each, weighting].mean) is PredictionName.VELOCITY
            for name in PLANAR
        )
        for weighting in (WeightingName.ELBO, WeightingName.SIMPLE)
    ]
    assert means == [3, 4]
    assert len(PUBLISHED) == 4 * 4 * 2


def test_cells_are_all_but_the_one_that_is_another() -> None:
    found = list(cells())
    assert len(found) == len(set(found)) == 11
    assert (PredictionName.DATA, WeightingName.RESCALED) not in found
    assert settings_of(*found[0], 5, 0).head is Head.CONTINUOUS


def _few(name: str, count: int) -> Sets:
    sets = load(name, 0)
    parts = {part: getattr(sets, part)[:count] for part in ("training", "held_out", "exact", "other")}
    return replace(sets, **parts, draws=64, true_nats=None if sets.true_nats is None else sets.true_nats[:count])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cluster", "digits"])
def test_a_cell_is_trained_and_told(name: str) -> None:
    sets = _few(name, 200)
    settings = replace(settings_of(PredictionName.VELOCITY, WeightingName.ELBO, 5, 0), width=8, blocks=1)
    row, bare = run(replace(sets, held_out=sets.held_out[:4], true_nats=_first(sets)), settings), without_model(sets)
    numbers = (row.mean, row.covariance, row.sliced, row.elbo_nats, row.flow_nats, bare.mean, bare.sliced)
    assert all(number is not None and math.isfinite(number) for number in numbers)
    assert (row.elbo_above is None) == (row.flow_above is None) == (name == "digits")
    assert row.steps == 5


def _first(sets: Sets) -> Array | None:
    return None if sets.true_nats is None else sets.true_nats[:4]


def test_digits_are_dequantised_by_less_than_a_level() -> None:
    sets = load("digits", 0)
    assert sets.held_out.shape == (360, 64)
    assert 0.0 <= float(sets.training.min()) < float(sets.training.max()) < 17.0
    assert len(np.unique(sets.training)) == sets.training.size
    assert SETS[-1] == "digits"


def test_the_table_has_the_studys_figures_beside_ours() -> None:
    known = Row("ring", "velocity", "simple", 0.01, 0.02, 0.03, 1.0, 0.1, 0.01, 2.0, 0.2, 0.02)
    lines = table([known, replace(known, weighting="rescaled"), Row("digits", "exact", "", 0.1, 0.2, 0.3)]).splitlines()
    assert lines[2].endswith("| 1.000 | 0.100 +- 0.010 | 2.000 | 0.200 +- 0.020 | 0.923 | 0.045 | 0.009 |")
    assert lines[3].endswith("| 0.200 +- 0.020 |  |  |  |")
    assert len({line.count("|") for line in lines}) == 1
