"""How a sampler's weighted draws share the modes of a target, against the true shares."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics import Assign, nearest, signs
from gephyra.samplers.sampler import Sampler
from gephyra.targets.catalogue import gmm40

__all__ = ["MODES", "DrawFacts", "Modes", "draw_facts"]

_DRAWS = 16384


class Modes(NamedTuple):
    """The modes of a target."""

    assign: Callable[[Sampler, NDArray[np.float64]], NDArray[np.int64]]
    """Index of the mode of each draw, `n x dim`."""
    masses: NDArray[np.float64]
    """True shares."""


class DrawFacts(NamedTuple):
    """What 16 384 draws of a sampler show."""

    mode_variation: float | None
    """Total variation between the weighted shares of the modes and the true ones; None where there is one mode."""
    modes_drawn: int | None
    """Modes that hold at least a tenth of their true share."""
    least_share: float | None
    """The smallest weighted share of a mode."""
    first_sd: float
    """Weighted standard deviation of the first coordinate."""
    first_sd_raw: float
    """The same without weights."""


def _by(assign: Assign) -> Callable[[Sampler, NDArray[np.float64]], NDArray[np.int64]]:
    return lambda sampler, x: assign(x)


def _order_of_means(sampler: Sampler, x: NDArray[np.float64]) -> NDArray[np.int64]:
    import torch

    mean = sampler.target.constrain(torch.from_numpy(x).float())["mean"].numpy()
    return (mean[:, 0] > mean[:, 1]).astype(np.int64)


def _even(count: int) -> NDArray[np.float64]:
    return np.full(count, 1.0 / count)


MODES: Mapping[str, Modes] = {
    "gmm40-2": Modes(_by(nearest(gmm40(2).means.numpy())), _even(40)),
    "gmm40-50": Modes(_by(nearest(gmm40(50).means.numpy())), _even(40)),
    "many-well-5": Modes(_by(signs(5)), _even(32)),
    "many-well-50": Modes(_by(signs(5)), _even(32)),
    "switching": Modes(_order_of_means, _even(2)),
}
"""Benchmarks with several modes."""


def draw_facts(name: str, sampler: Sampler) -> DrawFacts:
    """Draw from a sampler of the benchmark `name`, and look."""
    blocks = list(sampler.draw(1, 0, _DRAWS))
    x = np.concatenate([block.x.double().numpy() for block in blocks])
    log_weight = np.concatenate([block.log_weight.numpy() for block in blocks])
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    first = x[:, 0]
    spread = float(np.sqrt(weight @ (first - weight @ first) ** 2))
    if name not in MODES:
        return DrawFacts(None, None, None, spread, float(first.std()))
    modes = MODES[name]
    share = np.bincount(modes.assign(sampler, x), weights=weight, minlength=len(modes.masses))
    variation = 0.5 * float(np.abs(share - modes.masses).sum())
    drawn = int((share >= 0.1 * modes.masses).sum())
    return DrawFacts(variation, drawn, float(share.min()), spread, float(first.std()))
