"""Which rows of which blocks a range of draws is: blocks are always evaluated whole, and cut afterwards."""

from collections.abc import Iterator

__all__ = ["blocks_of"]


def blocks_of(start: int, count: int, size: int) -> Iterator[tuple[int, slice]]:
    """The blocks of `size` draws that hold draws start, ..., start + count - 1: their indices, and the rows of each.

    >>> list(blocks_of(start=3, count=4, size=5))
    [(0, slice(3, 5, None)), (1, slice(0, 2, None))]
    """
    stop = start + count
    for index in range(start // size, -(-stop // size)):
        first = index * size
        yield index, slice(max(start - first, 0), min(stop - first, size))
