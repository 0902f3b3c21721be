"""What a server tells its operator: counters, health, a line in the log for every call; and what stays out of it."""

import json
import signal
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gephyra.protos import sampler_service_pb2, target_service_pb2
from gephyra.service.__main__ import main
from tests.support.refusal import refused
from tests.support.server import ServerProcess, create_job, gaussian, get_job, register, train, wait_for, watch
from tests.support.tables import create, csv
from tests.support.wire import square_program

METHOD = "gephyra.v1.TargetService/GetTarget"


class Watched:
    """A server with an admin port on which something has been done."""

    def __init__(self, server: ServerProcess) -> None:
        self.server, self.stubs = server, server.stubs
        assert server._process is not None
        assert server._process.stdout is not None
        said = server._process.stdout.readline()
        assert said.startswith("gephyra: metrics on http://127.0.0.1:")
        self.url = said.split()[-1]
        self.target = register(self.stubs, gaussian(), "normal-watched")
        self.sampler = train(self.stubs, self.target.name)

    def scrape(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Value by name and labels, as a scrape of Prometheus reads them."""
        text = urllib.request.urlopen(self.url, timeout=30).read().decode()
        families = text_string_to_metric_families(text)
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}

    def value(self, name: str, **labels: str) -> float:
        return self.scrape().get((name, tuple(sorted(labels.items()))), 0.0)

    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in (self.server.private / "log").read_text().splitlines()]

    def get(self, name: str, **metadata: str) -> target_service_pb2.Target:
        request = target_service_pb2.GetTargetRequest(name=name)
        return self.stubs.target.GetTarget(request, metadata=tuple(metadata.items()))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with ServerProcess(tmp_path_factory.mktemp("watched") / "data", ["--admin-port", "0"]) as server:
        yield Watched(server)


def test_calls_are_counted_by_method_and_code(watched: Watched) -> None:
    def counts() -> list[float]:
        handled = [
            watched.value("gephyra_rpc_handled_total", method=METHOD, code=code)
            for code in ("OK", "NOT_FOUND", "INVALID_ARGUMENT")
        ]
        names = ("gephyra_rpc_started_total", "gephyra_rpc_seconds_count")
        return [*handled, *(watched.value(name, method=METHOD) for name in names)]

    before = counts()
    watched.get(watched.target.name)
    refused(lambda: watched.get("targets/nothing"))
    refused(lambda: watched.get("targets/nothing-else"))
    refused(lambda: watched.get("no name"))
    assert [after - then for after, then in zip(counts(), before, strict=True)] == [1, 2, 1, 4, 4]
    assert watched.value("gephyra_rpc_in_flight", method=METHOD) == 0


def test_a_stream_is_in_flight_until_it_ends_and_its_draws_are_counted(watched: Watched) -> None:
    method = "gephyra.v1.SamplingService/DrawSamples"
    drawn, gone = (
        watched.value("gephyra_draws_total"),
        watched.value("gephyra_rpc_handled_total", method=method, code="CANCELLED"),
    )
    request = sampler_service_pb2.DrawSamplesRequest(sampler=watched.sampler.name, count=1500)
    list(watched.stubs.sampling.DrawSamples(request))
    assert watched.value("gephyra_draws_total") - drawn == 1500
    request.count = 10_000_000
    stream = watched.stubs.sampling.DrawSamples(request)
    next(stream)
    assert watched.value("gephyra_rpc_in_flight", method=method) == 1
    stream.cancel()
    wait_for(lambda: watched.value("gephyra_rpc_in_flight", method=method) == 0, what="the end of the call")
    assert watched.value("gephyra_rpc_handled_total", method=method, code="CANCELLED") - gone == 1


def test_a_method_that_is_not_there_makes_no_label(watched: Watched) -> None:
    call: Any = watched.stubs.channel.unary_unary("/gephyra.v1.TargetService/Nonsense-f5d1")
    with pytest.raises(grpc.RpcError):
        call(b"")
    assert watched.value("gephyra_rpc_handled_total", method="unknown", code="UNIMPLEMENTED") >= 1
    assert not any("f5d1" in label for _, labels in watched.scrape() for _, label in labels)


def test_jobs_attempts_and_slots_are_counted(watched: Watched) -> None:
    before = watched.scrape()
    job = create_job(watched.stubs, watched.target.name)
    watch(watched.stubs, job.name)
    wait_for(lambda: watched.value("gephyra_slots_used", kind="training") == 0, what="a free slot")
    after = watched.scrape()

    def more(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before.get(key, 0.0)

    assert more("gephyra_jobs", state="succeeded") == 1
    assert more("gephyra_job_attempts_started_total") == 1
    assert more("gephyra_job_attempts_ended_total", state="succeeded") == 1
    assert more("gephyra_job_queue_seconds_count") == 1
    assert more("gephyra_checkpoint_seconds_count") >= 1
    assert more("gephyra_checkpoint_seconds_sum") > 0
    assert more("gephyra_database_write_seconds_count") >= 3
    assert {after["gephyra_slots", (("kind", kind),)] for kind in ("training", "drawing")} == {1}
    # Cardinality: whatever has a name of its own is no label.
    names = {job.name, watched.target.name, watched.sampler.name, get_job(watched.stubs, job.name).sampler}
    assert not any(name.partition("/")[2] in label for _, labels in after for _, label in labels for name in names)


def test_the_admin_port_answers_what_it_is_asked(watched: Watched) -> None:
    base = watched.url.removesuffix("/metrics")
    assert urllib.request.urlopen(f"{base}/healthz", timeout=30).read() == b"ok\n"
    for path, method, status in (("/nothing", "GET", 404), ("/metrics", "POST", 405)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(base + path, method=method), timeout=30)
        assert caught.value.code == status
        caught.value.close()


def test_without_the_option_there_is_no_admin_port(server: ServerProcess) -> None:
    assert psutil.Process(server.pid).net_connections("tcp") == []


def test_a_taken_admin_port_is_refused(watched: Watched, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = watched.url.rpartition(":")[2].partition("/")[0]
    arguments = ["--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0", "--admin-port", port]
    assert main(arguments) == 4
    assert f"port {port}" in capsys.readouterr().err


def test_every_call_has_a_line_and_errors_name_it(watched: Watched) -> None:
    wish = f"wish-{uuid.uuid4().hex}"
    watched.get(watched.target.name, **{"x-request-id": wish})
    refusal = refused(lambda: watched.get("targets/nothing"))
    found = {line.get("request_id"): line for line in watched.lines()}
    assert {"method": METHOD, "code": "OK", "level": "info", "message": "call"}.items() <= found[wish].items()
    told = found[refusal.request_id]
    assert (told["method"], told["code"], told["reason"]) == (METHOD, "NOT_FOUND", "TARGET_NOT_FOUND")
    assert 0 < told["seconds"] < 60


def test_a_request_id_that_could_forge_a_line_is_replaced(watched: Watched) -> None:
    forged = 'x" "code": "OK'
    refusal = refused(lambda: watched.get("targets/nothing", **{"x-request-id": forged}))
    assert refusal.request_id != forged
    assert refusal.request_id in {line.get("request_id") for line in watched.lines()}


def test_data_and_programs_stay_out_of_the_log(watched: Watched) -> None:
    """Numbers and names that come in by every door, refused or not, are in no line."""
    marks = ("7316.25", "secretcolumn", "8421.125", "sum.dim_IntList", "9173.5")
    table = f"{marks[1]},b\n{marks[0]},2\n3,4\n"
    create(watched.stubs, csv(table), dataset_id="good-data")
    refused(lambda: create(watched.stubs, csv(f"{table}8421.125,oops\n"), dataset_id="bad-data"))
    register(watched.stubs, square_program(), "square-program")
    wrong = gaussian()
    wrong.catalogue.parameters.add(name="scale", float_value=9173.5)
    refused(lambda: register(watched.stubs, wrong))
    text = (watched.server.private / "log").read_text()
    assert len(text) > 1000
    assert [mark for mark in marks if mark in text] == []


@pytest.mark.slow
def test_health_says_no_while_the_server_stops(serve: Callable[..., ServerProcess], tmp_path: Path) -> None:
    running = Watched(serve(tmp_path / "data", "--admin-port", "0"))
    base = running.url.removesuffix("/metrics")
    # A call that goes on keeps the server from ending at once.
    request = sampler_service_pb2.DrawSamplesRequest(sampler=running.sampler.name, count=10_000_000)
    stream = running.stubs.sampling.DrawSamples(request)
    next(stream)
    assert running.server._process is not None
    running.server._process.send_signal(signal.SIGTERM)

    def refuses() -> bool:
        try:
            urllib.request.urlopen(f"{base}/healthz", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return error.code == 503
        return False

    wait_for(refuses, seconds=10, what="an unhealthy answer")
    stream.cancel()
