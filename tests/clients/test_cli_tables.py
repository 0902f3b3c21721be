"""Tables of the command line: a name is printed whole, however narrow the terminal."""

from typing import Any

import pytest
from typer.testing import CliRunner

from gephyra.clients.cli.app import app
from gephyra.clients.cli.output import print_rows
from gephyra.protos import dataset_service_pb2, denoising_pb2, report_pb2, sampler_service_pb2, target_service_pb2
from gephyra.protos import training_service_pb2 as pb
from tests.clients.fake import FakeServer

JOB, MODEL, BRIDGE = "job-0a1b2c3d4e5f", "sampler-0a1b2c3d4e5f", "sampler-5f4e3d2c1b0a"
DATA, TARGET = "measurements-of-people-in-2026", "posterior-of-eight-schools"


@pytest.fixture
def server(fake: FakeServer) -> FakeServer:
    """A server with one of each, by long names."""
    report = denoising_pb2.DenoisingReport(loss=0.75, validation=denoising_pb2.Likelihood(nats=1.25, rows=4))
    model = sampler_service_pb2.Sampler(name=f"samplers/{MODEL}", dataset=f"datasets/{DATA}", denoising_report=report)
    evidence = report_pb2.EvidenceReport(log_z=-109.123, log_z_se=0.01, elbo=-110.0, ess_fraction=0.75, k_hat=0.25)
    bridge = sampler_service_pb2.Sampler(name=f"samplers/{BRIDGE}", target=f"targets/{TARGET}", report=evidence)
    metrics = pb.TrainingMetrics(stage="train", step=200, loss=0.8, validation=0.9, steps_per_second=30)
    job = pb.TrainingJob(
        name=f"trainingJobs/{JOB}", dataset=f"datasets/{DATA}", state=pb.JOB_STATE_RUNNING, sampler=f"samplers/{MODEL}",
        metrics=metrics,
    )  # fmt: skip
    target = target_service_pb2.Target(name=f"targets/{TARGET}", source="numpyro 0.19.0, a model of schools")
    dataset = dataset_service_pb2.Dataset(name=f"datasets/{DATA}", rows=40, columns=2, display_name="people.csv")
    fake.script |= {
        "ListTrainingJobs": lambda request, context: pb.ListTrainingJobsResponse(training_jobs=[job]),
        "ListSamplers": lambda request, context: sampler_service_pb2.ListSamplersResponse(samplers=[model, bridge]),
        "ListTargets": lambda request, context: target_service_pb2.ListTargetsResponse(targets=[target]),
        "ListDatasets": lambda request, context: dataset_service_pb2.ListDatasetsResponse(datasets=[dataset]),
    }
    return fake


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["jobs"], [JOB, DATA, MODEL]),
        (["samplers"], [MODEL, DATA, BRIDGE, TARGET]),
        (["targets", "list"], [TARGET]),
        (["dataset", "list"], [DATA]),
    ],
)
@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_names_are_never_broken(server: FakeServer, command: list[str], names: list[str], width: str) -> None:
    result = CliRunner().invoke(app, [*command, "--server", server.address], env={"COLUMNS": width})
    assert result.exit_code == 0, result.output
    assert [name for name in names if f" {name} " not in result.stdout] == []


def test_columns_that_no_sampler_fills_are_left_out(server: FakeServer) -> None:
    listed = server.script["ListSamplers"]

    def targets_only(request: Any, context: Any) -> sampler_service_pb2.ListSamplersResponse:
        return sampler_service_pb2.ListSamplersResponse(samplers=listed(request, context).samplers[1:])

    server.script["ListSamplers"] = targets_only
    shown = CliRunner().invoke(app, ["samplers", "--server", server.address], env={"COLUMNS": "200"}).stdout
    assert "log Z" in shown
    assert "NLL" not in shown


def test_a_table_keeps_to_the_terminal_where_it_can(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    print_rows(("name", "of", "text"), [("some-name", "another-name", "words " * 30)], names=("of",))
    assert {len(line) for line in capsys.readouterr().out.splitlines()} == {50}
    print_rows(("name", "of", "text"), [("n" * 45, "another-name", "words " * 30)], names=("of",))
    (width,) = {len(line) for line in capsys.readouterr().out.splitlines()}
    assert width == 45 + 12 + 5 + 3 * 3 + 1
