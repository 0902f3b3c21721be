"""Which weightings are one on a schedule, which are bounds, and that the picture in the documents shows them."""

from pathlib import Path

import pytest

from benchmarks.weightings import draw, shapes
from gephyra.samplers.denoising.settings import PredictionName, ScheduleName, WeightingName

ROOT = Path(__file__).parents[2]


def test_weightings_that_are_one_on_the_cosine_schedule() -> None:
    found = {names: curve.monotone for names, curve in shapes(ScheduleName.COSINE, -10.0, 12.0)}
    assert [names for names in found if len(names) > 1] == [
        ("simple (data)", "rescaled"),
        ("simple (velocity)", "simple (flow-velocity)", "simple (edm)", "edm", "flow-matching"),
        ("simple (score)", "simple (energy)"),
    ]
    assert sorted(names[0] for names, monotone in found.items() if monotone) == [
        "elbo", "sigmoid", "simple (data)", "simple (velocity)", "truncated-snr",
    ]  # fmt: skip


@pytest.mark.parametrize("schedule", ScheduleName)
def test_every_weighting_has_one_curve_on_every_schedule(schedule: ScheduleName) -> None:
    names = [name for each in shapes(schedule, -10.0, 12.0) for name in each.names]
    assert len(names) == len(set(names)) == len(WeightingName) - 1 + len(PredictionName)


def test_the_picture_is_drawn_and_committed(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = shapes(ScheduleName.COSINE, -10.0, 12.0)
    draw(found, tmp_path / "weightings.svg")
    committed = ROOT / "docs" / "figures" / "weightings.svg"
    assert committed.stat().st_size < 100_000
    for picture in (tmp_path / "weightings.svg", committed):
        text = picture.read_text()
        assert [name for each in found for name in each.names if name not in text] == []
