"""Traces of calls, for OpenTelemetry (the extra `telemetry`): a span a call, its context in the call's metadata.

Off unless a provider is given, or OpenTelemetry's environment variables ask for an exporter. Off, opentelemetry is not
imported.
"""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeAlias

from gephyra import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["Metadata", "Traced", "Tracing", "Untraced", "tracing"]

logger = logging.getLogger(__name__)

Metadata: TypeAlias = tuple[tuple[str, str], ...]

_GROUP = "opentelemetry_traces_exporter"
_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracing(ABC):
    """Where the spans of a client's calls go."""

    @abstractmethod
    def call(self, name: str) -> AbstractContextManager[Metadata]:
        """A call, for as long as it takes; gives the metadata to send with it."""

    @abstractmethod
    def close(self) -> None:
        """Send what was not sent yet, if that is ours to do."""


class Untraced(Tracing):
    """No spans."""

    def call(self, name: str) -> AbstractContextManager[Metadata]:
        return nullcontext(())

    def close(self) -> None:
        pass


class Traced(Tracing):
    """Spans of a provider, below the caller's current one; `owned` if closing is to shut the provider down."""

    def __init__(self, provider: "TracerProvider", owned: bool = False) -> None:
        self._provider, self._owned = provider, owned
        self._tracer = provider.get_tracer("gephyra.clients", __version__)

    @contextmanager
    def call(self, name: str) -> Iterator[Metadata]:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        span = self._tracer.start_span(name, kind=trace.SpanKind.CLIENT, attributes={"rpc.system": "grpc"})
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span))
        try:
            yield tuple(carrier.items())
        except Exception as error:
            # The kind only: messages quote values.
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            span.end()

    def close(self) -> None:
        provider: Any = self._provider
        if self._owned:
            provider.shutdown()


def tracing(provider: "TracerProvider | None") -> Tracing:
    """What the provider, or else the environment, asks for.

    A program that has set OpenTelemetry up itself keeps its provider. What the environment asks for and is not
    installed is said in the log: a variable that was set for others should stop nobody.
    """
    if provider is not None:
        return Traced(provider)
    exporter = _exporter(os.environ)
    if not exporter:
        return Untraced()
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning("no traces, though OTEL_ variables ask for them: pip install 'gephyra[telemetry]'")
        return Untraced()
    theirs = trace.get_tracer_provider()
    if isinstance(theirs, TracerProvider):
        return Traced(theirs)
    found = entry_points(group=_GROUP, name=exporter)
    if not found:
        known = ", ".join(sorted(entry_points(group=_GROUP).names)) or "none"
        logger.warning("no traces: there is no exporter %s; installed: %s", exporter, known)
        return Untraced()
    named = os.environ.get("OTEL_SERVICE_NAME", "gephyra-client")
    ours = TracerProvider(resource=Resource.create({"service.name": named, "service.version": __version__}))
    ours.add_span_processor(BatchSpanProcessor(next(iter(found)).load()()))
    return Traced(ours, owned=True)


def _exporter(environment: Mapping[str, str]) -> str:
    """The exporter that the standard variables ask for; empty: none."""
    named = environment.get("OTEL_TRACES_EXPORTER", "")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or named == "none":
        return ""
    if not named and not any(environment.get(name) for name in _ENDPOINTS):
        return ""
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    return _PROTOCOLS.get(protocol or "grpc", "otlp") if named in ("", "otlp") else named
