"""Shows how a training job or an upload gets on: a bar on a terminal or in a notebook, nothing elsewhere."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Protocol

from .events import Event
from .facts import summary

__all__ = ["Display", "PlainLine", "Silence", "progress_display", "transfer_display"]


_WORTH_SHOWING = 1 << 20
"""Bytes."""


class Display(Protocol):
    """What is told of the events of a job."""

    def update(self, event: Event) -> None:
        """Show an event."""
        ...


class Silence:
    """Shows nothing."""

    def update(self, event: Event) -> None:
        """Nothing."""


class PlainLine:
    """One line of text, written over and over: for a terminal without rich."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._width = 0

    def update(self, event: Event) -> None:
        """Write the line anew."""
        text = _text(event)
        if text:
            line = f"{self._name}: {text}"
            sys.stderr.write(f"\r{line.ljust(self._width)}")
            sys.stderr.flush()
            self._width = len(line)

    def close(self) -> None:
        """End the line."""
        if self._width:
            sys.stderr.write("\n")


@contextlib.contextmanager
def progress_display(name: str, *, enabled: bool) -> Iterator[Display]:
    """A display for the job `name`, on standard error or in the notebook; silent where nobody would see it."""
    notebook = _in_notebook()
    if not enabled or not (notebook or sys.stderr.isatty()):
        yield Silence()
    elif find_spec("rich") is not None:
        from .richbar import rich_display

        with rich_display(name) as display:
            yield display
    else:
        line = PlainLine(name)
        try:
            yield line
        finally:
            line.close()


@contextlib.contextmanager
def transfer_display(name: str, total: int, *, enabled: bool) -> Iterator[Callable[[int], object]]:
    """Shows how many of `total` bytes were sent, when told; silent where nobody would see it, or for few bytes."""
    notebook = _in_notebook()
    if not enabled or total < _WORTH_SHOWING or not (notebook or sys.stderr.isatty()):
        yield lambda sent: None
    elif find_spec("rich") is not None:
        from .richbar import rich_transfer

        with rich_transfer(name, total) as told:
            yield told
    else:
        try:
            yield lambda sent: print(
                f"\r{name}: {sent >> 20} of {total >> 20} MiB ", end="", file=sys.stderr, flush=True
            )
        finally:
            print(file=sys.stderr)


def _text(event: Event) -> str:
    """The event in words; empty for one that needs no showing."""
    if event.metrics is not None:
        return summary(event.metrics)
    return "" if event.state is None else event.state.told


def _in_notebook() -> bool:
    """True inside a Jupyter kernel, found without importing IPython."""
    shell = sys.modules.get("IPython")
    current = getattr(shell, "get_ipython", lambda: None)()
    return type(current).__name__ == "ZMQInteractiveShell"
