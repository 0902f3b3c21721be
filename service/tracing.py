"""Traces, as the server needs them: spans have a parent that travels as text, W3C's `traceparent`.

Off, nothing is recorded and opentelemetry is not imported; `telemetry.py` has what records.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextvars import ContextVar
from enum import Enum
from typing import TypeAlias

from gephyra.protos import worker_pb2

__all__ = ["CURRENT", "Attributes", "NoSpan", "NoTracing", "Role", "Span", "Tracing", "record_work", "wanted_exporter"]

Attributes: TypeAlias = Mapping[str, str | int | float]

CURRENT: ContextVar[str] = ContextVar("gephyra-traceparent", default="")
"""`traceparent` of the call at work in this task; empty outside calls, and where nothing is recorded."""


class Role(Enum):
    """What a span stands for."""

    SERVER = "a call"
    CONSUMER = "work that waited in a queue"
    INTERNAL = "a part of other work"


class Span(ABC):
    """Work that goes on."""

    @property
    @abstractmethod
    def traceparent(self) -> str:
        """What a child names as its parent; empty where nothing is recorded."""

    @property
    @abstractmethod
    def trace_id(self) -> str:
        """32 hexadecimal digits; empty where nothing is recorded."""

    @abstractmethod
    def end(self, failure: str = "") -> None:
        """The work has ended, with this failure if it is not empty."""


class Tracing(ABC):
    """Where spans go."""

    @abstractmethod
    def begin(self, name: str, role: Role, parent: str, attributes: Attributes) -> Span:
        """Work begins; `parent` is a `traceparent`, or empty."""

    @abstractmethod
    def record(self, name: str, parent: str, began: int, ended: int, attributes: Attributes, failure: str = "") -> None:
        """Work was done from `began` to `ended` (nanoseconds since 1970)."""

    @abstractmethod
    def close(self) -> None:
        """Send what was not sent yet."""


class NoSpan(Span):
    """Nothing is recorded."""

    @property
    def traceparent(self) -> str:
        return ""

    @property
    def trace_id(self) -> str:
        return ""

    def end(self, failure: str = "") -> None:
        pass


class NoTracing(Tracing):
    """Nothing is recorded."""

    def begin(self, name: str, role: Role, parent: str, attributes: Attributes) -> Span:
        return NoSpan()

    def record(self, name: str, parent: str, began: int, ended: int, attributes: Attributes, failure: str = "") -> None:
        pass

    def close(self) -> None:
        pass


def record_work(tracing: Tracing, command: worker_pb2.WorkerCommand, event: worker_pb2.WorkerEvent) -> None:
    """Record what a worker did for a command, from the event that ended it.

    Workers have no way out but their socket, so they tell the times and the server sends the span.
    """
    kind, failed = command.WhichOneof("command") or "", event.WhichOneof("event") == "failed"
    attributes: Attributes = {"gephyra.process": "worker", "gephyra.worker.pid": event.pid}
    if command.traceparent and event.began_ns:
        tracing.record(
            f"worker {kind}", event.traceparent, event.began_ns, event.sent_ns, attributes, "failed" if failed else ""
        )


def wanted_exporter(environment: Mapping[str, str]) -> str:
    """The exporter that OpenTelemetry's standard variables ask for; empty: no traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    named = environment.get("OTEL_TRACES_EXPORTER", "")
    if named:
        return "" if named == "none" else named
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return "otlp" if any(environment.get(name) for name in endpoints) else ""
