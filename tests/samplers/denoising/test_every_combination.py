"""Every prediction x weighting x schedule x source of levels x head trains: a run of the session each, in process.

The words are read from `settings`, so that a new one joins by itself.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.build import build_model
from gephyra.samplers.denoising.report import DenoisingMetrics
from gephyra.samplers.denoising.session import train_denoiser
from gephyra.samplers.denoising.settings import (
    DenoisingSettings,
    Head,
    LevelsName,
    PredictionName,
    ScheduleName,
    WeightingName,
)
from gephyra.samplers.settings import Budget
from tests.samplers.denoising.exact import draws, uniform

STEPS, NAMES = 20, ("a", "b")
# Named heads only: `auto` is one of the others, by the data.
HEADS = [head for head in Head if head is not Head.AUTO]
DATA: dict[Head, Tensor] = {
    Head.CONTINUOUS: draws("combinations", 64).float(),
    Head.LEVELS: (4 * uniform("combinations/levels", 64, 2)).floor().float(),
}


class Words(NamedTuple):
    """A combination but for the source of levels."""

    head: Head
    prediction: PredictionName
    weighting: WeightingName
    schedule: ScheduleName


def settings_of(words: Words, levels: LevelsName, time_steps: int | None = None) -> DenoisingSettings | None:
    """How to train a combination; None where the settings refuse it: the only rule by which any is left out."""
    try:
        return DenoisingSettings(
            **words._asdict(), levels=levels, time_steps=time_steps, budget=Budget(iterations=STEPS), batch_size=32,
            width=16, blocks=1, weight_decay=0.0, validation=0.0,
        )  # fmt: skip
    except ValueError:
        return None


def _known() -> Iterator[Words]:
    return itertools.starmap(Words, itertools.product(HEADS, PredictionName, WeightingName, ScheduleName))


TAKEN = [words for words in _known() if any(settings_of(words, levels) for levels in LevelsName)]


def test_what_is_refused_is_another_prediction_of_levels_than_the_data() -> None:
    for words, levels in itertools.product(_known(), LevelsName):
        refused = words.head is Head.LEVELS and words.prediction is not PredictionName.DATA
        assert (settings_of(words, levels) is None) == refused, words
    assert len(TAKEN) == (len(PredictionName) + 1) * len(WeightingName) * len(ScheduleName)


def _train(settings: DenoisingSettings) -> None:
    """The loss stays finite, and every parameter that anything depends on has moved to another finite value."""
    told: list[DenoisingMetrics] = []
    sampler = train_denoiser(DATA[settings.head], NAMES, settings, on_metrics=told.append)
    assert (sampler.report.steps, told[-1].stage) == (STEPS, "evaluate")
    # Of all twenty steps: a loss that was infinite or no number once shows.
    assert 0.0 < told[-1].loss < float("inf")
    before = build_model(settings, sampler.frame)
    for (name, start), end in zip(before.named_parameters(), sampler.model.parameters(), strict=True):
        # A constant is no part of an energy's gradient.
        idle = settings.prediction is PredictionName.ENERGY and name == "network.outlet.bias"
        assert bool(end.isfinite().all()), name
        assert torch.equal(start, end) == idle, name


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(TAKEN)), ids=["-".join(words) for words in TAKEN])
def test_every_combination_trains(number: int) -> None:
    """With every source of levels; with one, another each time, in discrete time too."""
    sources = list(LevelsName)
    for levels, steps in [*((each, None) for each in sources), (sources[number % len(sources)], 50)]:
        settings = settings_of(TAKEN[number], levels, steps)
        assert settings is not None
        _train(settings)
