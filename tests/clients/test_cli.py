"""The command line: what it prints, and the exit code of every kind of error."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from typer.testing import CliRunner

from gephyra.clients import errors
from gephyra.clients.cli.app import app
from gephyra.clients.cli.errors import exit_code
from gephyra.protos import (
    meta_service_pb2,
    report_pb2,
    sampler_service_pb2,
    target_service_pb2,
    training_service_pb2,
)
from tests.clients.fake import FakeServer, refuse
from tests.clients.test_draws_stream import honest

pb = training_service_pb2
TARGET = target_service_pb2.Target(name="targets/funnel", state=target_service_pb2.Target.STATE_READY, dim=10)
SAMPLER = sampler_service_pb2.Sampler(
    name="samplers/some-sampler",
    target="targets/funnel",
    dim=3,
    report=report_pb2.EvidenceReport(log_z=-1.25, paths=64),
)
JOB = pb.TrainingJob(name="trainingJobs/some-job", state=pb.JOB_STATE_SUCCEEDED, sampler=SAMPLER.name)


@pytest.fixture
def server(fake: FakeServer) -> FakeServer:
    """A server with one target, one job, one sampler."""
    fake.script |= {
        "GetTarget": lambda request, context: TARGET,
        "CreateTarget": lambda request, context: TARGET,
        "ListTargets": lambda request, context: target_service_pb2.ListTargetsResponse(targets=[TARGET]),
        "CreateTrainingJob": lambda request, context: JOB,
        "GetTrainingJob": lambda request, context: JOB,
        "CancelTrainingJob": lambda request, context: JOB,
        "ListTrainingJobs": lambda request, context: pb.ListTrainingJobsResponse(training_jobs=[JOB]),
        "WatchTrainingJob": watch,
        "GetSampler": lambda request, context: SAMPLER,
        "ListSamplers": lambda request, context: sampler_service_pb2.ListSamplersResponse(samplers=[SAMPLER]),
        "DrawSamples": lambda request, context: honest(request),
        "GetServerInfo": lambda request, context: meta_service_pb2.GetServerInfoResponse(version="9.9"),
    }
    return fake


def watch(request: Any, context: grpc.ServicerContext) -> Iterator[pb.WatchTrainingJobResponse]:
    metrics = pb.TrainingMetrics(stage="train", step=5, elbo=float("nan"))
    if request.after_sequence < 1:
        yield pb.WatchTrainingJobResponse(event=pb.TrainingEvent(sequence=1, metrics=metrics))
    yield pb.WatchTrainingJobResponse(event=pb.TrainingEvent(sequence=2, state=pb.JOB_STATE_SUCCEEDED))


def run(server: FakeServer, *arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments, "--server", server.address])


COMMANDS: list[tuple[list[str], Any]] = [
    (["info"], lambda out: out["version"] == "9.9"),
    (["targets", "list"], lambda out: out[0]["name"] == "targets/funnel"),
    (["targets", "show", "funnel"], lambda out: out["dim"] == 10),
    (["targets", "add-catalogue", "funnel", "dim=10"], lambda out: out["state"] == "READY"),
    (["train", "funnel", "--seconds", "5"], lambda out: (out["log_z"], out["job"]) == (-1.25, JOB.name)),
    (["train", "funnel", "--detach"], lambda out: out["name"] == JOB.name),
    (["jobs"], lambda out: out[0]["sampler"] == SAMPLER.name),
    (["cancel", "some-job"], lambda out: out["state"] == "SUCCEEDED"),
    (["samplers"], lambda out: out[0]["target"] == "targets/funnel"),
    (["evidence", "some-sampler"], lambda out: out["log_z"] == -1.25 and out["stored"]),
]


@pytest.mark.parametrize(
    ("arguments", "holds"), COMMANDS, ids=lambda value: value[0] if isinstance(value, list) else ""
)
def test_each_command_prints_a_table_or_one_json_value(server: FakeServer, arguments: list[str], holds: Any) -> None:
    for_people = run(server, *arguments)
    assert for_people.exit_code == 0, for_people.output
    assert for_people.stdout.strip()
    for_programs = run(server, *arguments, "--json")
    assert for_programs.exit_code == 0, for_programs.output
    assert holds(json.loads(for_programs.stdout))


def test_watch_prints_an_event_a_line(server: FakeServer) -> None:
    result = run(server, "watch", "some-job", "--json")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["metrics"]["elbo"] is None
    assert second["state"] == "SUCCEEDED"
    assert len(run(server, "watch", "some-job", "--after", "1", "--json").stdout.splitlines()) == 1


@pytest.mark.parametrize("name", ["draws.nc", "draws.npz"])
def test_draw_writes_a_file(server: FakeServer, tmp_path: Any, name: str) -> None:
    path = tmp_path / name
    result = run(server, "draw", "some-sampler", "-n", "50", "--out", str(path), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["count"] == 50
    assert path.stat().st_size > 0


def test_draw_sends_how_draws_are_made(server: FakeServer, tmp_path: Any) -> None:
    words = ["--smc", "--polish", "mala", "--polish-steps", "3", "--out", str(tmp_path / "draws.npz")]
    assert run(server, "draw", "some-sampler", "-n", "50", *words).exit_code == 0
    pb2 = sampler_service_pb2
    assert server.calls[-1][1].how == pb2.DrawSettings(smc=True, polish=pb2.POLISH_MALA, polish_steps=3)


def test_a_file_with_a_row_that_is_half_numbers_is_refused(server: FakeServer, tmp_path: Any) -> None:
    """It is no line of headings, and dropping it would lose data."""
    (tmp_path / "x.csv").write_text("1,b\n1,2\n")
    result = run(server, "targets", "add-catalogue", "lgcp", f"points=@{tmp_path / 'x.csv'}")
    assert result.exit_code == 2
    assert "holds no array of numbers" in result.stderr


def test_catalogue_parameters_are_numbers_words_lists_and_files(server: FakeServer, tmp_path: Any) -> None:
    np.save(tmp_path / "x.npy", np.eye(2))
    (tmp_path / "y.csv").write_text("1,2\n3,4\n")
    (tmp_path / "z.csv").write_text("a,b\n1,2\n3,4\n")
    files = [f"x=@{tmp_path / 'x.npy'}", f"y=@{tmp_path / 'y.csv'}", f"z=@{tmp_path / 'z.csv'}"]
    words = ["dim=10", "scale=0.5", "kind=full", "flag=true", "means=[[1,2],[3,4]]"]
    assert run(server, "targets", "add-catalogue", "funnel", *words, *files).exit_code == 0
    ((_, create),) = server.calls
    sent = {entry.name: entry for entry in create.definition.catalogue.parameters}
    assert (sent["dim"].int_value, sent["scale"].float_value) == (10, 0.5)
    assert (sent["kind"].str_value, sent["flag"].bool_value) == ("full", True)
    assert all(list(sent[name].array.inline.shape) == [2, 2] for name in ("means", "x", "y", "z"))


BAD_INPUT = [
    ["train", "funnel", "--method", "nuts"],
    ["train", "funnel", "--seconds", "1", "--iterations", "1"],
    ["train"],
    ["targets", "add-catalogue", "funnel", "dim"],
    ["targets", "add-catalogue", "funnel", "x=@no-such-file.npy"],
    ["targets", "add-catalogue", "funnel", "x=[1,[2]]"],
    ["draw", "some-sampler", "--out", "draws.csv"],
    ["no-such-command"],
]


@pytest.mark.parametrize("arguments", BAD_INPUT, ids=" ".join)
def test_bad_input_is_2_and_a_sentence_on_standard_error(server: FakeServer, arguments: list[str]) -> None:
    result = run(server, *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.strip()


@pytest.mark.parametrize(
    "arguments", [["jobs"], ["jobs", "--server", "a:1", "--folder", "b"], ["train", "x", "--detach"]]
)
def test_a_server_must_be_named_once(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments, env={"GEPHYRA_SERVER": None}).exit_code == 2


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 2),
        (grpc.StatusCode.NOT_FOUND, 3),
        (grpc.StatusCode.FAILED_PRECONDITION, 4),
        (grpc.StatusCode.ALREADY_EXISTS, 4),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 4),
        (grpc.StatusCode.UNAVAILABLE, 5),
        (grpc.StatusCode.INTERNAL, 1),
    ],
)
def test_an_error_of_the_server_is_its_exit_code(server: FakeServer, code: grpc.StatusCode, expected: int) -> None:
    server.script["GetTrainingJob"] = lambda request, context: refuse(context, code, "a [sentence]", "A_REASON")
    result = run(server, "cancel", "some-job")
    assert result.exit_code == expected
    assert "a [sentence]" in result.stderr
    assert "A_REASON" in result.stderr


def test_a_job_that_failed_is_6(server: FakeServer) -> None:
    failed = pb.TrainingJob(name=JOB.name, state=pb.JOB_STATE_FAILED)
    server.script["GetTrainingJob"] = lambda request, context: failed
    server.script["WatchTrainingJob"] = lambda request, context: iter(())
    assert run(server, "watch", "some-job").exit_code == 6
    assert run(server, "watch", "some-job", "--json").exit_code == 6


def test_a_server_that_is_gone_is_5(server: FakeServer) -> None:
    server.stop()
    result = run(server, "jobs")
    assert result.exit_code == 5
    assert "gephyra serve" in result.stderr


def test_every_exception_has_an_exit_code() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if name not in {"Violation", "error_class"}]
    assert {exit_code(kind("x")) for kind in kinds} == {1, 2, 3, 4, 5, 6}


def test_every_command_teaches_with_an_example() -> None:
    runner = CliRunner()
    alone = [
        "serve",
        "demo",
        "info",
        "train",
        "watch",
        "jobs",
        "cancel",
        "samplers",
        "draw",
        "evidence",
        "nll",
        "log-prob",
    ]
    for command in alone:
        assert "Example: gephyra" in runner.invoke(app, [command, "--help"]).stdout, command
    for command in ["list", "show", "add-catalogue", "delete"]:
        assert "Example: gephyra targets" in runner.invoke(app, ["targets", command, "--help"]).stdout, command
    for command in ["list", "fetch"]:
        assert "Example: gephyra data" in runner.invoke(app, ["data", command, "--help"]).stdout, command


def test_without_typer_it_prints_the_line_to_install_it_and_exits_with_2() -> None:
    hide = "import sys; sys.modules['typer'] = None; sys.modules['rich'] = None"
    find = (
        "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n: None if n in ('typer', 'rich') else f(n)"
    )
    code = f"{hide}; {find}; from gephyra.clients.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2
    assert "pip install 'gephyra[cli]'" in result.stderr
