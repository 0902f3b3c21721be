"""One trace from a client's call through the queue to the worker; and traces by the standard variables alone."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_trace_id

from gephyra.clients.aio import AsyncClient
from gephyra.clients.definition import catalogue
from gephyra.clients.tracing import Untraced, tracing
from gephyra.service.__main__ import main
from gephyra.service.config import ServerConfig
from gephyra.service.server import Server
from gephyra.service.telemetry import OpenTelemetry
from gephyra.service.tracing import NoTracing, wanted_exporter
from tests.support.server import PATIENCE

TINY: dict[str, Any] = {"iterations": 20, "batch_size": 16, "steps": 4, "width": 8, "precondition": "none"}
STANDARD = "OTEL_"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the machine may say about traces."""
    for name in [name for name in os.environ if name.startswith(STANDARD)]:
        monkeypatch.delenv(name)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def client(tmp_path: Path, exporter: InMemorySpanExporter) -> AsyncIterator[AsyncClient]:
    """A client and a server in this process, with one exporter in memory; the worker is a process of its own."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    server = Server(ServerConfig(tmp_path / "data", "127.0.0.1:0"), OpenTelemetry(provider))
    address = await server.start()
    async with AsyncClient(address, tracer_provider=provider) as client:
        yield client
    await server.stop()


def only(spans: Sequence[ReadableSpan], name: str) -> ReadableSpan:
    (span,) = [span for span in spans if span.name == name]
    return span


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def parent(span: ReadableSpan) -> tuple[int, int]:
    assert span.parent is not None
    return span.parent.trace_id, span.parent.span_id


async def test_client_server_queue_and_worker_are_one_trace(
    client: AsyncClient, exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    target = await client.register(catalogue("gaussian", dim=3), name="traced")
    job = await client.train(target, **TINY)
    sampler = await job.result()
    await sampler.draw(100, seed=1)
    async with asyncio.timeout(PATIENCE):
        # The attempt ends a moment after its job.
        while not any(span.name == "attempt" for span in exporter.get_finished_spans()):
            await asyncio.sleep(0.02)
    spans = exporter.get_finished_spans()
    call = only(spans, "CreateTrainingJob")
    rpc = only(spans, "gephyra.v1.TrainingService/CreateTrainingJob")
    queue, attempt, worker = (only(spans, name) for name in ("queue", "attempt", "worker train"))
    assert call.parent is None
    assert parent(rpc) == ids(call)
    assert parent(queue) == parent(attempt) == ids(rpc)
    assert parent(worker) == ids(attempt)
    assert len({ids(span)[0] for span in (call, rpc, queue, attempt, worker)}) == 1
    # The worker's times are its own: within the attempt, and from another process.
    assert attempt.start_time is not None
    assert worker.start_time is not None
    assert worker.end_time is not None
    assert attempt.start_time <= worker.start_time < worker.end_time
    assert worker.attributes is not None
    assert worker.attributes["gephyra.worker.pid"] != os.getpid()
    # Attempts after a restart belong to it too.
    kept = tmp_path / "data" / job.name.replace("trainingJobs", "jobs") / "traceparent"
    assert format_trace_id(ids(call)[0]) in kept.read_text()
    # Draws are a trace of their own.
    drawing = only(spans, "gephyra.v1.SamplingService/DrawSamples")
    assert parent(only(spans, "worker draw")) == ids(drawing)
    assert parent(drawing) == ids(only(spans, "DrawSamples"))
    assert ids(drawing)[0] != ids(call)[0]


async def test_a_failed_call_is_an_error_without_its_words(client: AsyncClient, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(Exception, match="secret-name"):
        await client.target("secret-name")
    for name in ("GetTarget", "gephyra.v1.TargetService/GetTarget"):
        span = only(exporter.get_finished_spans(), name)
        assert span.status.description in ("NotFound", "NOT_FOUND")
        assert "secret" not in span.to_json()


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps in memory what OTLP exporters send: (service, name of span, trace)."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, bytes]] = []

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            (service,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
            spans = [span for scope in resource.scope_spans for span in scope.spans]
            self.spans += [(service, span.name, span.trace_id) for span in spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector to which the standard variables point."""
    collector, server = Collector(), grpc.server(futures.ThreadPoolExecutor(2))
    # Generated without types.
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield collector
    server.stop(0).wait()


@pytest.mark.slow
def test_the_standard_variables_are_enough(tmp_path: Path, collector: Collector) -> None:
    """Three processes, of which nothing but the environment was told."""
    code = f"""
import gephyra as gp
with gp.Client.local({str(tmp_path / "runs")!r}) as client:
    client.train(client.register(gp.catalogue("gaussian", dim=3), name="traced"), **{TINY!r}).result()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    traces = {name: (service, trace) for service, name, trace in collector.spans}
    call, rpc, worker = (
        traces[name] for name in ("CreateTrainingJob", "gephyra.v1.TrainingService/CreateTrainingJob", "worker train")
    )
    assert (call[0], rpc[0], worker[0]) == ("gephyra-client", "gephyra", "gephyra")
    assert call[1] == rpc[1] == worker[1]


@pytest.mark.parametrize(
    ("variables", "exporter"),
    [
        ({}, ""),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317", "OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
    ],
)
def test_traces_are_off_until_asked_for(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], exporter: str
) -> None:
    """Server and client read the same variables alike."""
    assert wanted_exporter(variables) == exporter
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    made = tracing(None)
    assert isinstance(made, Untraced) == (not exporter)
    made.close()


def test_off_nothing_is_sent_with_calls() -> None:
    with Untraced().call("GetTarget") as metadata:
        assert metadata == ()
    span = NoTracing().begin("x", Any, "", {})  # type: ignore[arg-type]
    assert (span.traceparent, span.trace_id) == ("", "")


def test_off_opentelemetry_is_not_imported() -> None:
    code = "import sys, gephyra.service.__main__, gephyra as gp; gp.Client('x:1').close(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "opentelemetry" not in {name.partition(".")[0] for name in done.stdout.split()}


def test_an_exporter_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0", "--traces", "nonsense"]) == 4
    assert "no exporter of traces 'nonsense'" in capsys.readouterr().err


def test_a_variable_that_was_set_for_others_stops_no_client(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nonsense")
    with caplog.at_level("WARNING"):
        assert isinstance(tracing(None), Untraced)
    assert "no exporter nonsense" in caplog.text
