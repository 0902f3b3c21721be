"""The w(lambda) that each weighting implies on a schedule: printed, and as a picture.

    python -m benchmarks.weightings [--schedule cosine] [--low -10] [--high 12] [--figure docs/figures/weightings.svg]

The plain squared error, `simple`, is another weighting for each prediction. Weightings whose curves differ by a factor
alone train alike and stand together.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.samplers.denoising.catalogue import PREDICTIONS, SCHEDULES, WEIGHTINGS
from gephyra.samplers.denoising.settings import PredictionName, ScheduleName, WeightingName
from gephyra.samplers.denoising.weighting import WeightCurve, implied_weight

__all__ = ["Shape", "draw", "main", "shapes"]

_POINTS = 221
# Relative, of curves that are one up to a factor.
_ALIKE = 1e-6
# What is shown of a curve, beside its value at zero.
_LEAST, _MOST = 1e-5, 1e3


class Shape(NamedTuple):
    """A curve and what it is called."""

    names: tuple[str, ...]
    curve: WeightCurve


def shapes(schedule: ScheduleName, low: float, high: float) -> list[Shape]:
    """The different curves of a schedule between two lambdas, with all names of each."""
    found: list[Shape] = []
    for name, curve in _curves(schedule, low, high):
        for n, known in enumerate(found):
            if _alike(known.curve.weight, curve.weight):
                found[n] = known._replace(names=(*known.names, name))
                break
        else:
            found.append(Shape((name,), curve))
    return found


def _curves(schedule: ScheduleName, low: float, high: float) -> Iterator[tuple[str, WeightCurve]]:
    given = SCHEDULES[schedule](low, high)
    # Not the ends themselves: rounding may put them outside the density's support.
    grid = torch.linspace(low, high, _POINTS + 2, dtype=torch.float64)[1:-1]
    for weighting, make in WEIGHTINGS.items():
        simple = weighting is WeightingName.SIMPLE
        for prediction in PREDICTIONS if simple else [PredictionName.NOISE]:
            curve = implied_weight(make(given, PREDICTIONS[prediction](given)), given.schedule, given.density, grid)
            yield f"{weighting} ({prediction})" if simple else str(weighting), curve


def _alike(one: Tensor, other: Tensor) -> bool:
    ratio = one / other
    return bool((ratio / ratio[0] - 1.0).abs().max() < _ALIKE)


def draw(found: list[Shape], path: Path) -> None:
    """Write the curves as a picture, each 1 where signal and noise are equal; monotone ones to the left."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "weightings", "font.size": 9}):
        figure, panels = pyplot.subplots(1, 2, figsize=(10, 4.2), sharex=True, sharey=True, layout="constrained")
        titles = {True: "never increases: the ELBO of noisier data", False: "increases somewhere: no ELBO"}
        for panel, monotone in zip(panels, (True, False), strict=True):
            for names, curve in found:
                if curve.monotone == monotone:
                    weight = curve.weight / curve.weight[curve.log_snr.abs().argmin()]
                    panel.plot(curve.log_snr, weight, label=" = ".join(names).replace(" = ", " =\n"))
            panel.set(yscale="log", ylim=(_LEAST, _MOST), xlabel="log signal-to-noise ratio", title=titles[monotone])
            panel.legend(fontsize=7)
        panels[0].set_ylabel("w, as a multiple of its value at 0")
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        pyplot.close(figure)


def main() -> None:
    """Parse arguments, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--schedule", type=ScheduleName, default=ScheduleName.COSINE, choices=list(ScheduleName))
    parser.add_argument("--low", type=float, default=-10.0, help="lowest log signal-to-noise ratio (default -10)")
    parser.add_argument("--high", type=float, default=12.0, help="highest (default 12)")
    parser.add_argument("--figure", type=Path, help="write the curves to this SVG file")
    options = parser.parse_args()
    found = shapes(options.schedule, options.low, options.high)
    for names, curve in found:
        print(f"{' = '.join(names)}\n{curve.described()}\n")
    if options.figure is not None:
        draw(found, options.figure)


if __name__ == "__main__":
    main()
