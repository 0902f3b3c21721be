"""The log of a server, on standard error: a line an event, JSON for programs, columns for people at a terminal.

Neither data nor programs get into it. So the text of an exception stays out, which may quote a value, unless it is the
system's: kind, frames and source lines are there.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TextIO

import structlog

__all__ = ["LogStyle", "logged"]

_Event = MutableMapping[str, Any]


class LogStyle(StrEnum):
    """How a line looks."""

    AUTO = "auto"
    """TEXT at a terminal, JSON elsewhere."""
    JSON = "json"
    TEXT = "text"


@contextmanager
def logged(style: LogStyle, stream: TextIO) -> Iterator[None]:
    """Send the log of this process, from INFO on, to `stream` for as long as it runs."""
    terminal = stream.isatty()
    if style is LogStyle.AUTO:
        style = LogStyle.TEXT if terminal else LogStyle.JSON
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _exception_without_values,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_RENDERERS[style](terminal)],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _json(terminal: bool) -> list[Any]:
    return [structlog.processors.EventRenamer("message", "event"), structlog.processors.JSONRenderer(default=str)]


def _text(terminal: bool) -> list[Any]:
    return [_short_time, structlog.dev.ConsoleRenderer(colors=terminal, timestamp_key="time")]


_RENDERERS: Mapping[LogStyle, Callable[[bool], list[Any]]] = {LogStyle.JSON: _json, LogStyle.TEXT: _text}


def _short_time(logger: Any, name: str, event: _Event) -> _Event:
    event["time"] = event["time"].partition(".")[0].replace("T", " ")
    return event


def _exception_without_values(logger: Any, name: str, event: _Event) -> _Event:
    """`exc_info` as text: frames, kinds, and the words of the system; chained ones too."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_described(error, set()))
    return event


def _described(error: BaseException, seen: set[int]) -> list[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = [*_described(before, seen), "then:"] if before is not None and id(before) not in seen else []
    lines += [part.rstrip("\n") for part in traceback.format_tb(error.__traceback__)]
    words = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return [*lines, f"{type(error).__qualname__}{words}"]
