"""Simulated paths as they are stored: states, and what the target said at each."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .group import Share
from .memo import Memo

__all__ = ["Node", "Path"]


class Node(NamedTuple):
    """One grid point of a batch of paths."""

    state: Tensor
    """`batch x state_dim`; the point is the first `dim` of it."""
    score: Tensor
    """The target's score at the point, `batch x dim`."""
    log_density: Tensor
    """The target's log density there, `(batch,)`."""


class Path(NamedTuple):
    """Stored paths: all that the losses and the log weights need."""

    state: Tensor
    """States z_0, ..., z_N, `(steps + 1) x batch x state_dim`."""
    score: Tensor
    """The target's score at each, `(steps + 1) x batch x dim`."""
    log_densities: Tensor
    """The target's log density at each, `(steps + 1) x batch`."""

    memo: Memo | None = None
    """What the simulation noted; only good for the parameters that drew these paths, and gone from a selection."""

    @classmethod
    def of(cls, nodes: Sequence[Node]) -> "Path":
        """The path through these nodes, from n = 0 on."""
        states, scores, log_densities = zip(*nodes, strict=True)
        return cls(torch.stack(states), torch.stack(scores), torch.stack(log_densities))

    @classmethod
    def filled(cls, nodes: Iterable[Node], length: int) -> "Path":
        """The path through `length` nodes, each copied as it comes: for constants, at half the memory of `of`."""
        arrays: list[Tensor] = []
        for index, node in enumerate(nodes):
            if not arrays:
                arrays = [part.new_empty(length, *part.shape) for part in node]
            for array, part in zip(arrays, node, strict=True):
                array[index] = part
        state, score, log_densities = arrays
        return cls(state, score, log_densities)

    @classmethod
    def joined(cls, paths: Sequence["Path"]) -> "Path":
        """Several batches as one."""
        states, scores, log_densities = zip(*(path[:3] for path in paths), strict=True)
        return cls(torch.cat(states, 1), torch.cat(scores, 1), torch.cat(log_densities, 1))

    def of_all(self, share: Share) -> "Path":
        """Those of a whole batch, from every worker's of its own share."""
        if share.whole:
            return self
        state, score = (share.gather(part.mT.contiguous()).mT.contiguous() for part in (self.state, self.score))
        return Path(state, score, share.gather(self.log_densities))

    @property
    def log_density(self) -> Tensor:
        """The target's log density at x_N, `(batch,)`."""
        return self.log_densities[-1]

    def select(self, kept: Tensor) -> "Path":
        """The paths that `kept`, a mask or indices into the batch, picks."""
        return Path(self.state[:, kept], self.score[:, kept], self.log_densities[:, kept])
