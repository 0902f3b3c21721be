"""One gradient of a loss: simulate, weigh, backward.

Paths that are not finite have weight zero: they are left out of the gradient, and their count is reported.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .bridge import Bridge
from .losses import DetachedLoss, PathCoefficients, reverse_kl_reparametrised
from .simulate import Path, simulate
from .weigh import PathDensities, log_weights, spans, weigh

__all__ = ["Gradient", "GradientOf", "detached_gradient", "reparametrised_gradient"]


# The leave-one-out mean needs two paths.
_LEAST_PATHS = 2


class Gradient(NamedTuple):
    """What a gradient left behind, besides `.grad` of the bridge's parameters."""

    loss: float
    """Minus the mean finite log weight, whatever the loss: comparable between losses."""
    log_weight: Tensor
    """`(batch,)` float64, constants; -inf where the path was not finite."""


GradientOf = Callable[[Bridge, Target, Tensor], Gradient]
"""(bridge, target, noise) -> Gradient, adding to `.grad`."""


def detached_gradient(loss: DetachedLoss) -> GradientOf:
    """The gradient of a loss on detached paths, backpropagated a chunk of time at a time."""

    def gradient(bridge: Bridge, target: Target, noise: Tensor) -> Gradient:
        with torch.no_grad():
            path = simulate(bridge, target, noise)
        chunks = list(spans(bridge, path))
        if len(chunks) == 1:
            # One chunk: the graph that gives the weights is the graph of the surrogate.
            densities = weigh(bridge, path, *chunks[0])
            log_weight = _log_weight(path, densities.detach())
            if bool(log_weight.isfinite().all()):
                _surrogate(loss(log_weight), densities).backward()
                return _gradient(log_weight)
        log_weight = log_weights(bridge, path)
        finite = log_weight.isfinite()
        if int(finite.sum()) >= _LEAST_PATHS:
            coefficients = loss(log_weight[finite])
            kept = Path(path.x[:, finite], path.score[:, finite], path.log_density[finite])
            for chunk in chunks:
                _surrogate(coefficients, weigh(bridge, kept, *chunk)).backward()
        return _gradient(log_weight)

    return gradient


def reparametrised_gradient(bridge: Bridge, target: Target, noise: Tensor) -> Gradient:
    """The gradient of the reverse KL through the simulation, target score and all (memory grows with the steps).

    For targets without second derivatives (captured JAX programs) the score is a constant of the simulation: the
    gradient then lacks the terms through the score, and is biased.
    """
    live = _live_log_weight(bridge, target, noise)
    log_weight = torch.where(live.detach().isfinite(), live.detach(), -torch.inf)
    finite = log_weight.isfinite()
    if int(finite.sum()) >= _LEAST_PATHS:
        if not bool(finite.all()):
            # Zero times infinity in the backward pass would spoil the sum: draw the usable paths again by themselves.
            live = _live_log_weight(bridge, target, noise[:, finite])
        reverse_kl_reparametrised(live).backward()
    return _gradient(log_weight)


def _live_log_weight(bridge: Bridge, target: Target, noise: Tensor) -> Tensor:
    path = simulate(bridge, target, noise)
    return _log_weight(path, weigh(bridge, path, 0, bridge.steps))


def _log_weight(path: Path, densities: PathDensities) -> Tensor:
    return path.log_density.double() + densities.backward - densities.forward


def _surrogate(coefficients: PathCoefficients, densities: PathDensities) -> Tensor:
    """The inner product of coefficients and log densities."""
    terms = [coefficient @ density for coefficient, density in zip(coefficients, densities, strict=True)]
    return torch.stack(terms).sum()


def _gradient(log_weight: Tensor) -> Gradient:
    finite = log_weight[log_weight.isfinite()]
    return Gradient(-float(finite.mean()) if finite.shape[0] else math.inf, log_weight)
