"""Log densities of stored paths under both chains of a bridge, parallel in time and in chunks.

All (n, path) pairs of a chunk are evaluated at once with live parameters. Sums over dim are taken in the working
precision, sums over n in float64.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .bridge import Bridge, Increments
from .group import Share
from .path import Path

__all__ = ["PathWeights", "log_weights", "path_weights", "spans"]

# Floats of points a chunk may hold: it bounds the memory of a training step. Small chunks are dear, since several need
# a pass for the weights first: at 2**15 a step took twice as long as in one chunk (one core, 2**18 floats in all).
_CHUNK_FLOATS = 2**20


class PathWeights(NamedTuple):
    """The log weights of paths, taken apart; constants in float64."""

    log_weight: Tensor
    """`(batch,)`; -inf where anything on the path was not finite."""
    forward: Tensor
    """log F_n, `steps x batch`."""
    backward: Tensor
    """log B_n, `steps x batch`."""
    start: Tensor
    """log p_0(z_0), `(batch,)`."""
    end: Tensor
    """log gamma(x_N), `(batch,)`."""
    members: Tensor
    """Which paths of the batch these are, `(batch,)`: a loss may know more of them."""

    @classmethod
    def of(cls, forward: Tensor, backward: Tensor, start: Tensor, end: Tensor) -> "PathWeights":
        """Put the parts together."""
        log_weight = end - start + (backward - forward).sum(0)
        log_weight = torch.where(log_weight.isfinite(), log_weight, -torch.inf)
        return cls(log_weight, forward, backward, start, end, torch.arange(end.shape[0], device=end.device))

    def of_all(self, share: Share) -> "PathWeights":
        """Those of a whole batch, from every worker's of its own share."""
        if share.whole:
            return self
        found = share.gather(torch.cat([self.forward, self.backward, self.start[None], self.end[None]]))
        steps = self.forward.shape[0]
        return PathWeights.of(found[:steps], found[steps : 2 * steps], found[-2], found[-1])

    @property
    def increments(self) -> Tensor:
        """log B_n - log F_n, `steps x batch`."""
        return self.backward - self.forward

    @property
    def log_q(self) -> Tensor:
        """log p_0 + sum log F_n, `(batch,)`."""
        return self.start + self.forward.sum(0)

    def select(self, kept: Tensor) -> "PathWeights":
        """The paths that a mask picks."""
        forward, backward = self.forward[:, kept], self.backward[:, kept]
        return PathWeights(
            self.log_weight[kept], forward, backward, self.start[kept], self.end[kept], self.members[kept]
        )


def spans(bridge: Bridge, path: Path, chunk_floats: int = _CHUNK_FLOATS) -> Iterator[tuple[int, int]]:
    """Split the transitions into consecutive ranges [first, last) of about `chunk_floats` numbers each.

    A frugal bridge takes all of them at once.
    """
    per_step = max(1, path.state[0].numel())
    length = max(1, bridge.steps if bridge.frugal else min(bridge.steps, chunk_floats // per_step))
    for first in range(0, bridge.steps, length):
        yield first, min(bridge.steps, first + length)


@torch.no_grad()
def path_weights(bridge: Bridge, path: Path) -> PathWeights:
    """The log weights of stored paths, in parts."""
    start = bridge.start_log_density(path.state[0])
    none = start.new_zeros(0, start.shape[0])
    parts = [Increments(none, none, none)]
    parts += [bridge.increments(path, first, last) for first, last in spans(bridge, path)]
    forward, backward = torch.cat([part.forward for part in parts]), torch.cat([part.backward for part in parts])
    return PathWeights.of(forward, backward, start, path.log_density.double())


def log_weights(bridge: Bridge, path: Path) -> Tensor:
    """log w of each path, `(batch,)` in float64; -inf where anything on the path was not finite."""
    return path_weights(bridge, path).log_weight
