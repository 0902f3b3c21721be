"""Several workers of a group as threads of one process, over real sockets."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gephyra.samplers.gloo import Gloo
from gephyra.samplers.group import Group

__all__ = ["together"]

T = TypeVar("T")


def together(folder: Path, size: int, work: Callable[[Group], T], timeout: float = 20.0) -> list[T]:
    """What `work` returns at each worker, by rank. Raises what the lowest rank raised."""
    found: dict[int, T] = {}
    errors: dict[int, BaseException] = {}

    def run(rank: int) -> None:
        try:
            group = Gloo(folder / "store", rank, size, timeout=timeout)
            try:
                found[rank] = work(group)
            finally:
                group.close()
        except BaseException as error:
            errors[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[min(errors)]
    return [found[rank] for rank in range(size)]
