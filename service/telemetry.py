"""Traces for OpenTelemetry (the extra `telemetry`), wanted by its environment variables or an option.

Imported only where traces are wanted. Which exporter, where to and how much is read from the standard variables.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gephyra import __version__

from .tracing import Attributes, Role, Span, Tracing

__all__ = ["NoExporter", "OpenTelemetry", "exporting"]

_GROUP = "opentelemetry_traces_exporter"
_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_KINDS: Mapping[Role, trace.SpanKind] = {
    Role.SERVER: trace.SpanKind.SERVER,
    Role.CONSUMER: trace.SpanKind.CONSUMER,
    Role.INTERNAL: trace.SpanKind.INTERNAL,
}
_W3C = TraceContextTextMapPropagator()


class NoExporter(Exception):
    """There is no such exporter; the message is for the operator."""


def exporting(exporter: str, environment: Mapping[str, str]) -> TracerProvider:
    """A provider that exports in the background. Raises NoExporter.

    Args:
        exporter: `otlp`, `console`, or another that is installed.
        environment: Where OTEL_EXPORTER_OTLP_PROTOCOL and OTEL_SERVICE_NAME may be.
    """
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    name = _PROTOCOLS.get(protocol or "grpc", exporter) if exporter == "otlp" else exporter
    found = entry_points(group=_GROUP, name=name)
    if not found:
        known = ", ".join(sorted(entry_points(group=_GROUP).names)) or "none"
        raise NoExporter(
            f"there is no exporter of traces {name!r}; installed: {known}. pip install 'gephyra[telemetry]' brings otlp"
        )
    attributes = {"service.name": environment.get("OTEL_SERVICE_NAME", "gephyra"), "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(attributes))
    provider.add_span_processor(BatchSpanProcessor(next(iter(found)).load()()))
    return provider


class OpenTelemetry(Tracing):
    """Spans of a provider; closing shuts it down."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("gephyra.service", __version__)

    def begin(self, name: str, role: Role, parent: str, attributes: Attributes) -> Span:
        return _Span(self._tracer.start_span(name, _context(parent), _KINDS[role], attributes))

    def record(self, name: str, parent: str, began: int, ended: int, attributes: Attributes, failure: str = "") -> None:
        span = self._tracer.start_span(name, _context(parent), trace.SpanKind.INTERNAL, attributes, start_time=began)
        _end(span, failure, ended)

    def close(self) -> None:
        self._provider.shutdown()


class _Span(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(self._span))
        return carrier["traceparent"]

    @property
    def trace_id(self) -> str:
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def end(self, failure: str = "") -> None:
        _end(self._span, failure, None)


def _context(traceparent: str) -> Context:
    # An empty context, so that whatever is current in this task is no parent.
    return _W3C.extract({"traceparent": traceparent} if traceparent else {}, Context())


def _end(span: trace.Span, failure: str, ended: int | None) -> None:
    if failure:
        span.set_status(trace.StatusCode.ERROR, failure)
    span.end(ended)
