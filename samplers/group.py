"""Several workers that train one sampler: each has a share of a batch's paths, and all hold the same parameters.

The noise of a path and what a batch as a whole says (means, variances, weights) do not depend on who simulates which
rows, so that the number of workers changes a gradient by rounding alone.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, final

import torch
from torch import Tensor

__all__ = ["ALONE", "Alone", "Group", "GroupLost", "Share", "tell"]


class GroupLost(Exception):
    """Another worker of the group is gone, or has not answered in time: nothing more can be done together."""


class Group(ABC):
    """The workers of one run. All call the same methods in the same order, with tensors of the same shapes.

    Every method raises GroupLost where another worker does not take part.

    Attributes:
        rank: Which of them this one is, in [0, size); the first, 0, is the one that decides.
        size: How many there are, at least 1.
    """

    rank: int
    size: int

    @abstractmethod
    def sum(self, values: Tensor) -> Tensor:
        """The values of all workers added up, the same bits everywhere; `values` may be overwritten."""

    @abstractmethod
    def gather(self, values: Tensor) -> Tensor:
        """The values of all workers, `size x` their shape, in the order of ranks."""

    @abstractmethod
    def first(self, values: Tensor) -> Tensor:
        """The values of the first worker; those of the others say only their shape and type."""


@final
class Alone(Group):
    """One worker."""

    rank, size = 0, 1

    def sum(self, values: Tensor) -> Tensor:
        return values

    def gather(self, values: Tensor) -> Tensor:
        return values[None]

    def first(self, values: Tensor) -> Tensor:
        return values


ALONE = Alone()
"""The group of a worker that trains by itself."""


class Share(NamedTuple):
    """This worker's part of a batch: a range of its paths, of a length that differs by at most one between workers."""

    group: Group
    paths: int
    """Of the batch."""

    @property
    def whole(self) -> bool:
        """Whether it is all of the batch."""
        return self.group.size == 1

    @property
    def empty(self) -> bool:
        """Whether there are too few paths for this worker to have any."""
        rows = self.rows
        return bool(rows.start == rows.stop)

    @property
    def rows(self) -> slice:
        """Which paths they are."""
        return self._of(self.group.rank)

    def gather(self, values: Tensor) -> Tensor:
        """Values of this worker's paths, `... x own`, to those of the whole batch, `... x paths`."""
        if self.whole:
            return values
        sizes = [part.stop - part.start for part in map(self._of, range(self.group.size))]
        padded = torch.nn.functional.pad(values, (0, max(sizes) - values.shape[-1]))
        parts = zip(self.group.gather(padded), sizes, strict=True)
        return torch.cat([part[..., :size] for part, size in parts], -1)

    def _of(self, rank: int) -> slice:
        return slice(self.paths * rank // self.group.size, self.paths * (rank + 1) // self.group.size)


def tell(group: Group, message: bytes = b"") -> bytes:
    """The first worker's message, at all of them; the others' own does not matter."""
    size = int(group.first(torch.tensor(len(message))))
    room = torch.zeros(size, dtype=torch.uint8)
    if size and group.rank == 0:
        room = torch.frombuffer(bytearray(message), dtype=torch.uint8)
    return group.first(room).numpy().tobytes() if size else b""
