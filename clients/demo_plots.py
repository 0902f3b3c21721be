"""The demo's two pictures. Figures are made without pyplot, so no state of matplotlib is touched."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .draws import Draws
from .events import Metrics
from .evidence import Evidence

__all__ = ["plot_evidence", "plot_pairs"]

_BLUE, _ORANGE, _GREY = "#2b6cb0", "#dd6b20", "#4a5568"
_TRAINING = "train"
# Nats shown below the lowest and above the reference value; the first steps may be far below and are cut off.
_BELOW, _ABOVE, _LOWEST = 0.3, 0.8, 4.0


def plot_evidence(path: Path, history: Sequence[Metrics], evidence: Evidence, reference: float) -> None:
    """The bracket over training: ELBO below, log Z between, the known value as a line, the final report at the end."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    training = [metrics for metrics in history if metrics.stage == _TRAINING and math.isfinite(metrics.elbo)]
    seconds, elbo, log_z = np.array([(each.seconds, each.elbo, each.log_z) for each in training]).reshape(-1, 3).T
    axes.fill_between(seconds, elbo, log_z, color=_BLUE, alpha=0.12, linewidth=0)
    axes.plot(seconds, log_z, color=_ORANGE, linewidth=1.2, label="log Z, recent steps")
    axes.plot(seconds, elbo, color=_BLUE, linewidth=1.5, label="ELBO, recent steps")
    axes.axhline(reference, color=_GREY, linestyle="--", linewidth=1.2, label=f"reference log Z {reference:.3f}")
    baseline = evidence.precondition.elbo
    if baseline is not None:
        axes.axhline(baseline, color=_GREY, linestyle=":", linewidth=1.2, label=f"ELBO of the baseline {baseline:.3f}")
        axes.axvspan(
            0, seconds.min(initial=math.inf), color=_GREY, alpha=0.08, linewidth=0, label="fitting the baseline"
        )
    _mark_report(axes, 1.02 * seconds.max(initial=0.0), evidence)
    lowest = min([evidence.elbo, *elbo, *([] if baseline is None else [baseline])])
    axes.set_ylim(max(lowest, reference - _LOWEST) - _BELOW, reference + _ABOVE)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("nats")
    axes.set_title("Seeds: the ELBO rises towards log Z", loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def plot_pairs(path: Path, draws: Draws) -> None:
    """Each pair of coefficients and log tau: points from equally weighted draws, histograms from the weights."""
    names = ("a_0", "a_1", "a_2", "a_12", "log tau")
    columns = [*(draws.sites[name] for name in names[:4]), np.log(draws.sites["tau"])]
    points = draws.resample(int(draws.ess))
    shown = [*(points.sites[name] for name in names[:4]), np.log(points.sites["tau"])]
    limits = [_limits(values) for values in shown]
    figure = Figure(figsize=(9, 9), layout="constrained")
    grid: Any = figure.subplots(len(names), len(names), sharex="col")
    for row, column in np.ndindex(len(names), len(names)):
        axes: Axes = grid[row, column]
        axes.set_visible(column <= row)
        axes.set_xlim(*limits[column])
        axes.spines[["top", "right"]].set_visible(False)
        if column == row:
            axes.hist(columns[row], bins=30, range=limits[row], weights=draws.weights, color=_BLUE, alpha=0.75)
            axes.set_yticks([])
        else:
            axes.scatter(shown[column], shown[row], s=4, color=_BLUE, alpha=0.15, linewidths=0)
            axes.set_ylim(*limits[row])
        _label(axes, names[column] if row == len(names) - 1 else "", names[row] if 0 == column < row else "")
    figure.suptitle(f"Seeds: {len(points)} draws of equal weight, resampled from {len(draws)}", x=0.02, ha="left")
    figure.savefig(path, dpi=110)


def _mark_report(axes: Axes, place: float, evidence: Evidence) -> None:
    """The final report as two points with error bars."""
    for value, se, colour, name in (
        (evidence.log_z, evidence.log_z_se, _ORANGE, "log Z"),
        (evidence.elbo, evidence.elbo_se, _BLUE, "ELBO"),
    ):
        label = f"{name} {value:.3f} ± {se:.3f},\n{evidence.paths:,} fresh paths"
        axes.errorbar([place], [value], yerr=[2 * se], fmt="o", color=colour, capsize=3, label=label)


def _limits(values: Any) -> tuple[float, float]:
    """Where nearly all values lie, with some room."""
    low, high = np.quantile(values, [0.005, 0.995])
    room = 0.12 * (high - low)
    return float(low - room), float(high + room)


def _label(axes: Axes, x: str, y: str) -> None:
    """Names at the rim only."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.tick_params(labelsize=8, labelbottom=bool(x), labelleft=bool(y))
