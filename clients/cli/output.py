"""Prints results: tables for people, JSON for programs."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

__all__ = ["identifier", "print_facts", "print_json", "print_rows", "say"]


def print_json(record: Any) -> None:
    """One JSON value on one line of standard output; numbers that JSON cannot hold become null."""
    print(json.dumps(_plain(record), allow_nan=False), flush=True)


def identifier(name: str) -> str:
    """The id in a name such as `samplers/some-id`: shorter, and every command takes it."""
    return name.rpartition("/")[2]


def say(text: str) -> None:
    """A line for people."""
    Console(soft_wrap=True).print(escape(text), highlight=False)


def print_rows(headings: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """A table with headings. The first column is never broken, so that a name can be copied from it."""
    first, *others = headings
    columns = [Column(first, no_wrap=True, overflow="ignore"), *(Column(each, overflow="fold") for each in others)]
    table = Table(*columns, title=title or None, title_justify="left")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console().print(table)


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
