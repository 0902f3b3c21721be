"""Log densities of stored paths under both chains of a bridge, parallel in time and in chunks.

All (n, path) pairs of a chunk are evaluated at once with live parameters. Sums over dim are taken in the working
precision, sums over n in float64.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .bridge import Bridge
from .path import Path

__all__ = ["PathWeights", "log_weights", "path_weights", "spans"]

# Floats of points a chunk may hold: it bounds the memory of a training step. Small chunks are dear, since several need
# a pass for the weights first: at 2**15 a step took twice as long as in one chunk (one core, 2**18 floats in all).
_CHUNK_FLOATS = 2**20


class PathWeights(NamedTuple):
    """The log weights of paths, taken apart; constants in float64."""

    log_weight: Tensor
    """`(batch,)`; -inf where anything on the path was not finite."""
    increments: Tensor
    """log B_n - log F_n, `steps x batch`."""
    start: Tensor
    """log p_0(z_0), `(batch,)`."""
    end: Tensor
    """log gamma(x_N), `(batch,)`."""

    @classmethod
    def of(cls, increments: Tensor, start: Tensor, end: Tensor) -> "PathWeights":
        """Put the parts together."""
        log_weight = end - start + increments.sum(0)
        return cls(torch.where(log_weight.isfinite(), log_weight, -torch.inf), increments, start, end)

    def select(self, kept: Tensor) -> "PathWeights":
        """The paths that a mask picks."""
        return PathWeights(self.log_weight[kept], self.increments[:, kept], self.start[kept], self.end[kept])


def spans(bridge: Bridge, path: Path, chunk_floats: int = _CHUNK_FLOATS) -> Iterator[tuple[int, int]]:
    """Split the transitions into consecutive ranges [first, last) of about `chunk_floats` numbers each."""
    per_step = max(1, path.state[0].numel())
    length = max(1, min(bridge.steps, chunk_floats // per_step))
    for first in range(0, bridge.steps, length):
        yield first, min(bridge.steps, first + length)


@torch.no_grad()
def path_weights(bridge: Bridge, path: Path) -> PathWeights:
    """The log weights of stored paths, in parts."""
    start = bridge.start_log_density(path.state[0])
    rows = [start.new_zeros(0, start.shape[0])]
    for first, last in spans(bridge, path):
        increments = bridge.increments(path, first, last)
        rows.append(increments.backward - increments.forward)
    return PathWeights.of(torch.cat(rows), start, path.log_density.double())


def log_weights(bridge: Bridge, path: Path) -> Tensor:
    """log w of each path, `(batch,)` in float64; -inf where anything on the path was not finite."""
    return path_weights(bridge, path).log_weight
