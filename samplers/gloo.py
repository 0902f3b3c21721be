"""A group over torch's gloo: sockets between processes, on one machine or several.

Gloo finds its peers through a file in a folder that all of them can write. Nothing on its sockets is authenticated or
encrypted: on one machine they are bound to loopback, and on several the network between them has to be trusted. What
travels is small, so tensors of other devices go by way of the processor's memory.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any, final

import torch.distributed as dist
from torch import Tensor

from .group import Group, GroupLost

__all__ = ["Gloo"]

# A minute is much for a step and too little for a program that is compiled on first use; a process that has died is
# noticed at once, through its socket.
_TIMEOUT_SECONDS = 600.0
_LOOPBACK = "127.0.0.1"
# Its types do not tell of all that it has.
_c10d: Any = dist


@final
class Gloo(Group):
    """Workers in processes (or threads) of their own.

    Args:
        store: File through which they find each other, new for this group.
        rank: Which worker this is.
        size: How many there are; the constructor waits for all of them.
        here: A name for where this one is; where all have the same, they meet on loopback.
        address: Of this machine, that the others can reach; for where they have not.
        timeout: Seconds that one exchange may take.

    Raises:
        GroupLost: If some do not come in time.
    """

    def __init__(
        self, store: Path, rank: int, size: int, here: str = "", address: str = _LOOPBACK,
        timeout: float = _TIMEOUT_SECONDS,
    ) -> None:  # fmt: skip
        self.rank, self.size = rank, size
        # The public way makes a group that is global to the process, on whatever address the machine's name has.
        gloo, files, limit = _c10d.ProcessGroupGloo, _c10d.FileStore, timedelta(seconds=timeout)
        options = gloo._Options()
        try:
            meeting = files(str(store), size)
            meeting.set_timeout(limit)
            meeting.set(f"here/{rank}", here)
            together = len({meeting.get(f"here/{other}") for other in range(size)}) == 1
            options._devices = [gloo.create_device(hostname=_LOOPBACK if together else address)]
            options._timeout = limit
            self._gloo: Any = gloo(meeting, rank, size, options)
        except RuntimeError as error:
            raise GroupLost(f"worker {rank} of {size} did not find the others: {error}") from error

    def sum(self, values: Tensor) -> Tensor:
        own = values.cpu()
        self._wait(self._gloo.allreduce([own]))
        return own.to(values.device)

    def gather(self, values: Tensor) -> Tensor:
        own = values.cpu().contiguous()
        found = own.new_empty(self.size * own.shape[0], *own.shape[1:])
        self._wait(self._gloo._allgather_base(found, own))
        return found.view(self.size, *own.shape).to(values.device)

    def first(self, values: Tensor) -> Tensor:
        own = values.cpu().contiguous()
        self._wait(self._gloo.broadcast(own, 0))
        return own.to(values.device)

    def close(self) -> None:
        """Leave; the others then get GroupLost from whatever they wait for."""
        # Its sockets close when nothing refers to it any more, and not before.
        self._gloo = None

    def _wait(self, work: Any) -> None:
        try:
            work.wait()
        except RuntimeError as error:
            raise GroupLost(f"worker {self.rank} of {self.size} lost the others: {error}") from error
