"""The comparative study of denoising losses (Kumar, Vaeth and Gregorova 2025), repeated without its confounders.

    python -m benchmarks.denoising [--json] [--sets cluster,ring,swiss,waves,digits] [--iterations 2000] [--seed 0]
        [--predictions data,noise,velocity,score] [--weightings elbo,simple,rescaled]

The study trains four predictions with three losses each: the ELBO's weights, the plain squared error of the prediction
(there "weighted") and that of the data ("rescaled"). Here as there: the cosine schedule, its sets in two dimensions
(`planar.py`), and scikit-learn's digits in place of CIFAR-10. Not as there: no clamps; one network, seed, solver (32
steps of DPM-Solver++) and number of steps for all; likelihoods in nats with all terms: minus the ELBO, and that of the
probability flow, of which neither bounds the other; where the law is known also how far they are above minus its own
log density, a paired difference. Our network, optimiser and stopping rule are the defaults.

The rescaled loss of the data is its plain loss: that run is the row `simple`. Pixels have uniform noise added, one
draw a row, which makes nats a bound of the probability of their levels. Rows named `exact` compare two sets without
any model: what a distance is where nothing is wrong. Distances are in units of the training rows' standard deviations.
Rows go to standard error as they come, then the table, or one JSON list, to standard output.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.held_out import SETS as HELD_OUT
from benchmarks.metrics import CovarianceDistance, MeanDistance, SlicedWasserstein
from benchmarks.planar import PLANAR, PUBLISHED, sample
from gephyra.samplers.denoising.session import train_denoiser
from gephyra.samplers.denoising.settings import DenoisingSettings, Head, PredictionName, WeightingName
from gephyra.samplers.denoising.standardise import standardise
from gephyra.samplers.random import keyed_generator
from gephyra.samplers.settings import Budget

__all__ = [
    "PREDICTIONS", "SETS", "WEIGHTINGS", "Row", "Sets", "cells", "load", "main", "run", "settings_of", "table",
    "without_model",
]  # fmt: skip

_TRAINING, _HELD_OUT, _DRAWS, _IMAGES = 20_000, 1000, 20_000, 10_000
_EXACT = "exact"
SETS = (*PLANAR, "digits")
PREDICTIONS = (PredictionName.DATA, PredictionName.NOISE, PredictionName.VELOCITY, PredictionName.SCORE)
WEIGHTINGS = (WeightingName.ELBO, WeightingName.SIMPLE, WeightingName.RESCALED)

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sets:
    """Samples of one law, `rows x dim`."""

    name: str
    training: _Array
    held_out: _Array
    """For likelihoods."""
    exact: _Array
    """What draws are compared with."""
    other: _Array
    """What `exact` is compared with for the row without a model."""
    draws: int
    true_nats: _Array | None
    """Minus the log density of rows held out; None where it is not known."""


@dataclass(frozen=True)
class Row:
    """One run, or none."""

    data: str
    prediction: str
    """`exact`: no model."""
    weighting: str
    mean: float
    """Distance of means of draws and an exact set; the same below of covariances and projections."""
    covariance: float
    sliced: float
    elbo_nats: float | None = None
    """Negative, mean over rows held out, like the next five; of `exact` the law's own."""
    elbo_above: float | None = None
    """What it is above minus the true log density."""
    elbo_above_se: float | None = None
    flow_nats: float | None = None
    flow_above: float | None = None
    flow_above_se: float | None = None
    steps: int = 0
    best_step: int = 0
    seconds: float = 0.0
    """Of training; not comparable where other runs share the machine."""


def load(name: str, seed: int) -> Sets:
    """The samples of a set by name."""
    if name == "digits":
        return _digits(seed)
    held_out = sample(name, "held out", _HELD_OUT, seed)
    return Sets(
        name,
        sample(name, "training", _TRAINING, seed),
        held_out,
        sample(name, "exact", _DRAWS, seed),
        sample(name, "other", _DRAWS, seed),
        _DRAWS,
        -PLANAR[name].standard_log_density(held_out),
    )


def _digits(seed: int) -> Sets:
    split, generator = HELD_OUT["digits"](seed), keyed_generator("benchmarks/dequantised", seed)
    parts = (split.training, split.held_out)
    training, held_out = (part.double().numpy() + generator.random(tuple(part.shape)) for part in parts)
    return Sets("digits", training, held_out, held_out, training, _IMAGES, None)


def cells() -> Iterator[tuple[PredictionName, WeightingName]]:
    """Every prediction with every weighting, once."""
    for prediction, weighting in product(PREDICTIONS, WEIGHTINGS):
        if (prediction, weighting) != (PredictionName.DATA, WeightingName.RESCALED):
            yield prediction, weighting


def settings_of(prediction: PredictionName, weighting: WeightingName, iterations: int, seed: int) -> DenoisingSettings:
    """How a cell is trained: the defaults but for the budget and the head, which predicts what it is told."""
    return DenoisingSettings(
        prediction=prediction,
        weighting=weighting,
        head=Head.CONTINUOUS,
        budget=Budget(iterations=iterations),
        seed=seed,
    )


def run(sets: Sets, settings: DenoisingSettings) -> Row:
    """Train once, judge once."""
    names, began = tuple(f"x{n}" for n in range(sets.training.shape[1])), time.perf_counter()
    sampler = train_denoiser(_tensor(sets.training), names, settings)
    seconds, report = time.perf_counter() - began, sampler.report
    drawn = torch.cat(list(sampler.draw(settings.seed + 1, 0, sets.draws))).double().numpy()
    found = sampler.nll(_tensor(sets.held_out), seed=settings.seed + 1)
    assert found.flow is not None
    elbo, flow = (_above(each.nats.numpy(), sets.true_nats) for each in (found.elbo, found.flow))
    words = (str(settings.prediction), str(settings.weighting))
    return Row(sets.name, *words, *_distances(sets, drawn), *elbo, *flow, report.steps, report.best_step, seconds)


def without_model(sets: Sets) -> Row:
    """The two exact sets beside each other."""
    nats = None if sets.true_nats is None else float(sets.true_nats.mean())
    return Row(sets.name, _EXACT, "", *_distances(sets, sets.other), nats, flow_nats=nats)


def _distances(sets: Sets, drawn: _Array) -> tuple[float, float, float]:
    transform = standardise(torch.from_numpy(sets.training))
    x, y = (transform.to_model(torch.from_numpy(each)).numpy() for each in (drawn, sets.exact))
    return MeanDistance()(x, y), CovarianceDistance()(x, y), SlicedWasserstein()(x, y)


def _above(nats: _Array, true: _Array | None) -> tuple[float, float | None, float | None]:
    if true is None:
        return float(nats.mean()), None, None
    above = nats - true
    return float(nats.mean()), float(above.mean()), float(above.std(ddof=1)) / math.sqrt(len(above))


def _tensor(x: _Array) -> Tensor:
    return torch.from_numpy(x).float()


def table(rows: list[Row]) -> str:
    """Rows in Markdown, beside the study's figures."""
    head = (
        "| set | prediction | weighting | mean | covariance | sliced W1 | -ELBO | above truth | flow | above truth "
        "| study: loss | mean | covariance |"
    )
    return "\n".join([head, "|---" * head.count(" |") + "|", *map(_line, rows)])


def _line(row: Row) -> str:
    own = [row.data, row.prediction, row.weighting, *(f"{x:.3f}" for x in (row.mean, row.covariance, row.sliced))]
    for nats, above, error in (
        (row.elbo_nats, row.elbo_above, row.elbo_above_se),
        (row.flow_nats, row.flow_above, row.flow_above_se),
    ):
        own.append("" if nats is None else f"{nats:.3f}")
        own.append("" if above is None else f"{above:.3f} +- {error:.3f}")
    theirs = None
    if row.prediction != _EXACT:
        theirs = PUBLISHED.get((row.data, PredictionName(row.prediction), WeightingName(row.weighting)))
    own += ["", "", ""] if theirs is None else [f"{x:.3f}" for x in theirs]
    return f"| {' | '.join(own)} |"


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", default=",".join(SETS), help="comma-separated (default all)")
    parser.add_argument("--predictions", default=",".join(PREDICTIONS), help="comma-separated (default all four)")
    parser.add_argument("--weightings", default=",".join(WEIGHTINGS), help="comma-separated (default all three)")
    parser.add_argument("--iterations", type=int, default=2000, help="optimiser steps a run (default 2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON list to standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for row in _rows(options):
        rows.append(row)
        print(json.dumps(asdict(row)), file=sys.stderr, flush=True)
    print(json.dumps([asdict(row) for row in rows]) if options.json else table(rows))


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    chosen = (options.predictions.split(","), options.weightings.split(","))
    for name in options.sets.split(","):
        sets = load(name, options.seed)
        yield without_model(sets)
        for prediction, weighting in cells():
            if prediction in chosen[0] and weighting in chosen[1]:
                yield run(sets, settings_of(prediction, weighting, options.iterations, options.seed))


if __name__ == "__main__":
    main()
