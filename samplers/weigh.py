"""Log densities of stored paths under both chains of a bridge, parallel in time and in chunks.

All (n, path) pairs of a chunk are evaluated at once with live parameters. Sums over dim are taken in the working
precision, sums over n in float64.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .bridge import Bridge
from .simulate import Path

__all__ = ["PathDensities", "log_weights", "spans", "weigh"]

# Floats of points a chunk may hold: it bounds the memory of a training step. Small chunks are dear, since several need
# a pass for the weights first: at 2**15 a step took twice as long as in one chunk (one core, 2**18 floats in all).
_CHUNK_FLOATS = 2**20


class PathDensities(NamedTuple):
    """Log densities of whole or partial paths, each `(batch,)` in float64."""

    forward: Tensor
    """log p_0(x_0) + sum_n log F_n."""
    backward: Tensor
    """sum_n log B_n."""
    shared: Tensor
    """`forward` with the control outputs detached; equal in value, live in shared parameters only."""

    def detach(self) -> "PathDensities":
        """The same numbers as constants."""
        return PathDensities(self.forward.detach(), self.backward.detach(), self.shared.detach())


def spans(bridge: Bridge, path: Path, chunk_floats: int = _CHUNK_FLOATS) -> Iterator[tuple[int, int]]:
    """Split the transitions into consecutive ranges [first, last) of about `chunk_floats` numbers each."""
    per_step = max(1, path.x[0].numel())
    length = max(1, min(bridge.steps, chunk_floats // per_step))
    for first in range(0, bridge.steps, length):
        yield first, min(bridge.steps, first + length)


def weigh(bridge: Bridge, path: Path, first: int, last: int) -> PathDensities:
    """Log densities of the transitions first, ..., last - 1, with the prior's term where first = 0."""
    x = path.x[first : last + 1]
    kernels = bridge.transitions(first, x, path.score[first : last + 1])
    forward = kernels.forward.log_density(x[1:]).sum(0)
    backward = kernels.backward.log_density(x[:-1]).sum(0)
    shared = forward.detach() if kernels.shared is None else kernels.shared.log_density(x[1:]).sum(0)
    if first == 0:
        start = bridge.prior_kernel().log_density(x[0])
        forward, shared = forward + start, shared + start
    return PathDensities(forward, backward, shared)


@torch.no_grad()
def log_weights(bridge: Bridge, path: Path) -> Tensor:
    """log w of each path, `(batch,)` in float64; -inf where anything on the path was not finite."""
    log_weight = path.log_density.double()
    for first, last in spans(bridge, path):
        densities = weigh(bridge, path, first, last)
        log_weight = log_weight + densities.backward - densities.forward
    return torch.where(log_weight.isfinite(), log_weight, -torch.inf)
