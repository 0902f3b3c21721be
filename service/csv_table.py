"""CSV files of numbers, read a few thousand lines at a time; every cell that is no number has its place.

Lines are parsed by numpy; only a block that it refuses, or one with quotes, is looked at cell by cell. Blocking.
"""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from .config import Limits
from .errors import InvalidArgument, Reason
from .faults import Place, fault
from .tables import Block, Table, check_extent, refuse_foreign

__all__ = ["read_csv"]

_DELIMITERS = (",", ";", "\t")
_LONGEST_LINE = 4 << 20
_BLOCK_CELLS = 1 << 16


class _Line(NamedTuple):
    """A line that is not blank, numbered from 1."""

    number: int
    text: str


class _Layout(NamedTuple):
    """How cells are parted, and how many there are a line."""

    delimiter: str
    headings: tuple[str, ...]
    """Empty where the first line is a row."""
    width: int

    def column(self, index: int) -> str:
        """The name of a column, as far as the file has one."""
        return self.headings[index] if index < len(self.headings) else f"x{index}"


def read_csv(path: Path, limits: Limits) -> Table:
    """The table in a CSV file: float64. Raises InvalidArgument, here or when blocks are read."""
    refuse_foreign(path, "csv", "a text, a row a line")
    with _opened(path) as file:
        first = next(_lines(file), None)
    if first is None:
        raise fault(Reason.DATA_EMPTY, "csv", "expected at least 2 rows, the file has none")
    if "\0" in first.text:
        raise fault(Reason.DATA_FORMAT_REFUSED, "csv", "expected a text in UTF-8, got something else")
    layout = _layout(first, limits)
    return Table(np.dtype("<f8"), layout.width, layout.headings, _blocks(path, layout))


def _opened(path: Path) -> TextIO:
    # What is no UTF-8 becomes a cell that is no number, with its place.
    return path.open(encoding="utf-8-sig", errors="surrogateescape")


def _lines(file: TextIO) -> Iterator[_Line]:
    """Lines that are not blank. Raises InvalidArgument for one that is absurdly long."""
    number = 0
    while text := file.readline(_LONGEST_LINE):
        number += 1
        if len(text) == _LONGEST_LINE and not text.endswith("\n"):
            description = f"expected at most {_LONGEST_LINE} characters a line"
            raise fault(Reason.DATA_TOO_LARGE, "csv", description, Place(line=number))
        if text.strip(" \t\r\n"):
            yield _Line(number, text.rstrip("\r\n"))


def _layout(first: _Line, limits: Limits) -> _Layout:
    delimiter = next((each for each in _DELIMITERS if each in first.text), ",")
    check_extent(1, first.text.count(delimiter) + 1, 8, "csv", limits)
    cells = _cells(first, delimiter)
    headings = () if any(_number(cell) is not None for cell in cells) else tuple(cell.strip() for cell in cells)
    return _Layout(delimiter, headings, len(cells))


def _blocks(path: Path, layout: _Layout) -> Iterator[Block]:
    rows, size = 0, max(1, _BLOCK_CELLS // layout.width)
    with _opened(path) as file:
        lines = _lines(file)
        if layout.headings:
            next(lines)
        while part := list(islice(lines, size)):
            values = _parsed(part, layout)
            if values is None:
                values = _examined(part, rows, layout)
            yield Block(values, np.array([line.number for line in part]))
            rows += len(part)


def _parsed(lines: list[_Line], layout: _Layout) -> NDArray[np.float64] | None:
    """The numbers, or None where a closer look is needed."""
    texts = [line.text for line in lines]
    if any(text.count(layout.delimiter) != layout.width - 1 or '"' in text for text in texts):
        return None
    try:
        values = np.loadtxt(texts, np.float64, delimiter=layout.delimiter, comments=None, ndmin=2)
    except ValueError:
        return None
    return values if values.shape == (len(lines), layout.width) else None


def _examined(lines: list[_Line], first_row: int, layout: _Layout) -> NDArray[np.float64]:
    """The numbers, cell by cell. Raises InvalidArgument at the first that is none."""
    values = np.empty((len(lines), layout.width))
    for index, line in enumerate(lines):
        row, cells = first_row + index, _cells(line, layout.delimiter)
        if len(cells) != layout.width:
            description = f"expected {layout.width} cells, as in the first line, got {len(cells)}"
            raise fault(Reason.DATA_RAGGED, "csv", description, Place(row, line=line.number))
        for column, cell in enumerate(cells):
            value = _number(cell)
            if value is None:
                raise _not_a_number(cell, Place(row, column, layout.column(column), line.number))
            values[index, column] = value
    return values


def _cells(line: _Line, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line.text], delimiter=delimiter))
    except csv.Error as error:
        raise fault(Reason.DATA_FORMAT_REFUSED, "csv", f"cannot be read: {error}", Place(line=line.number)) from None


def _number(cell: str) -> float | None:
    """The number in a cell. Python's underscores are none of CSV's."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _not_a_number(cell: str, place: Place) -> InvalidArgument:
    shown = cell.encode("utf-8", "replace").decode()[:60]
    came = f"got {shown!r}" if cell.strip() else "the cell is empty; leave out or fill what is missing"
    return fault(Reason.DATA_NOT_A_NUMBER, "csv", f"expected a number, {came}", place)
