"""Prints results: tables for people, JSON for programs."""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

__all__ = ["identifier", "print_facts", "print_json", "print_rows", "say"]

# So long a word is not broken in a table.
_LEAST = 10


def print_json(record: Any) -> None:
    """One JSON value on one line of standard output; numbers that JSON cannot hold become null."""
    print(json.dumps(_plain(record), allow_nan=False), flush=True)


def identifier(name: str) -> str:
    """The id in a name such as `samplers/some-id`: shorter, and every command takes it."""
    return name.rpartition("/")[2]


def say(text: str) -> None:
    """A line for people."""
    Console(soft_wrap=True).print(escape(text), highlight=False)


def print_rows(
    headings: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", *, names: Collection[str] = ()
) -> None:
    """A table with headings. The first column and those headed `names` are never broken: names can be copied from them.

    Where the terminal is too narrow for these and a little of the others, lines are longer than it.
    """
    shown, columns, least = list(rows), [], []
    for index, heading in enumerate(headings):
        cells, whole = [heading, *(row[index] for row in shown)], index == 0 or heading in names
        words = [cell_len(word) for cell in cells for word in cell.split()]
        least.append(max(map(cell_len, cells)) if whole else min(max(words, default=0), _LEAST))
        columns.append(Column(heading, no_wrap=whole, overflow="fold", min_width=least[-1]))
    table = Table(*columns, title=title or None, title_justify="left")
    for row in shown:
        table.add_row(*(escape(cell) for cell in row))
    console = Console()
    # A border and two spaces a column.
    width = max(console.width, sum(least) + 3 * len(least) + 1)
    (console if width == console.width else Console(width=width)).print(table, crop=False)


def print_facts(name: str, rows: Iterable[tuple[str, str]]) -> None:
    """A table of labels and texts under a name; empty texts are left out."""
    table = Table(title=escape(name), title_justify="left", show_header=False)
    for label, text in rows:
        if text:
            table.add_row(escape(label), escape(text))
    Console().print(table)


def _plain(value: Any) -> Any:
    """The value with everything that JSON cannot hold replaced."""
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
