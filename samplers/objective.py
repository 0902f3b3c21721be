"""What training minimises, as the interface that every loss has, and the backward pass they share.

Paths that are not finite have weight zero: they are left out of the gradient, and their count is reported.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gephyra.targets.base import Target

from .bridge import Bridge, Increments
from .group import ALONE, Group, Share
from .losses import DetachedLoss, PathCoefficients
from .noise import NoiseSource
from .path import Path
from .stepper import cosine
from .weigh import PathWeights, path_weights, spans

__all__ = ["Gradient", "Objective", "descend"]

# The leave-one-out mean needs two paths.
_LEAST_PATHS = 2


class Gradient(NamedTuple):
    """What a gradient left behind, besides `.grad` of the parameters."""

    loss: float
    """Minus the mean finite log weight, whatever the loss: comparable between losses."""
    log_weight: Tensor
    """`(batch,)` float64, constants; -inf where the path was not finite."""
    warming: bool = False
    """Of a warm start: these are a few paths, for show, and no ground to end a run on."""

    @classmethod
    def of(cls, log_weight: Tensor, *, warming: bool = False) -> "Gradient":
        """The record of these log weights."""
        constant = log_weight.detach()
        finite = constant[constant.isfinite()]
        return cls(-float(finite.mean()) if finite.shape[0] else math.inf, constant, warming)


class Objective(nn.Module, ABC):
    """A loss with its way of being differentiated. Its own parameters, if any, are trained beside the bridge's."""

    @abstractmethod
    def gradient(self, bridge: Bridge, target: Target, noise: NoiseSource, batch: int) -> Gradient:
        """Add the gradient on `batch` paths to `.grad` of the parameters of the bridge and of this module.

        In a group (`noise.group`) the gradients that its workers leave add up to it, and all tell the same of it.
        """

    def rate(self, fraction: float) -> float:
        """The learning rate of the next step as a share of its peak, at this share of the budget, in [0, 1]."""
        return cosine(fraction)

    def tensors(self) -> dict[str, Tensor]:
        """What the next gradient depends on beside parameters, for a checkpoint."""
        return {}

    def restore(self, tensors: dict[str, Tensor], target: Target, group: Group = ALONE) -> None:
        """Go on from what `tensors` returned; `target` is there to draw again what was not worth storing."""


def descend(bridge: Bridge, path: Path, loss: DetachedLoss, share: Share | None = None) -> PathWeights:
    """Add the gradient of a loss on stored paths to `.grad`, a chunk of time at a time; returns the batch's weights.

    The paths are a worker's share of a batch, and so is the gradient; the loss sees the weights of the whole batch.
    """
    share = Share(ALONE, path.log_density.shape[0]) if share is None else share
    chunks = list(spans(bridge, path))
    if share.empty:
        none = torch.empty(bridge.steps, 0, dtype=torch.float64, device=path.state.device)
        return PathWeights.of(none, none, none[0], none[0]).of_all(share)
    if len(chunks) != 1:
        weights = path_weights(bridge, path).of_all(share)
    else:
        # One chunk: the graph that gives the weights is the graph of the surrogate.
        increments, start = bridge.increments(path, *chunks[0]), bridge.start_log_density(path.state[0])
        forward, backward = increments.forward.detach(), increments.backward.detach()
        own = PathWeights.of(forward, backward, start.detach(), path.log_density.double())
        weights = own.of_all(share)
        if bool(weights.log_weight.isfinite().all()):
            coefficients = loss(weights).at(share.rows)
            _backward([*_inner(coefficients, increments, slice(None)), coefficients.start @ start])
            return weights
    finite = weights.log_weight.isfinite()
    if int(finite.sum()) < _LEAST_PATHS:
        return weights
    mine, before = finite[share.rows], int(finite[: share.rows.start].sum())
    coefficients = loss(weights.select(finite)).at(slice(before, before + int(mine.sum())))
    if bool(mine.any()):
        # A selection copies the path; it is seldom needed.
        kept = path if bool(mine.all()) else path.select(mine)
        _backward([coefficients.start @ bridge.start_log_density(kept.state[0])])
        for first, last in chunks:
            _backward(_inner(coefficients, bridge.increments(kept, first, last), slice(first, last)))
    return weights


def _inner(coefficients: PathCoefficients, increments: Increments, rows: slice) -> list[Tensor]:
    """Inner products of coefficients and log densities of the transitions `rows`."""
    pairs = (
        (coefficients.forward, increments.forward),
        (coefficients.backward, increments.backward),
        (coefficients.shared, increments.shared),
    )
    return [(density.sum(0) @ c) if c.ndim == 1 else (density * c[rows]).sum() for c, density in pairs]


def _backward(terms: Sequence[Tensor]) -> None:
    total = torch.stack(list(terms)).sum()
    # A bridge that learns nothing of what these terms hold (no prior, say) has no graph here.
    if total.requires_grad:
        total.backward()
