"""Options of models of data, said in Python or on the command line: each is one typed field of the request."""

import asyncio
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gephyra.clients import errors
from gephyra.clients.aio import AsyncClient
from gephyra.clients.cli.app import app
from gephyra.clients.denoising import DenoisingOptions
from gephyra.clients.events import metrics_from_message
from gephyra.clients.facts import summary
from gephyra.clients.sync import Client
from gephyra.protos import dataset_service_pb2, denoising_pb2, sampler_service_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.denoising.settings import DenoisingSettings
from tests.clients.fake import FakeServer

NAME = "trainingJobs/some-job"
DATASET = dataset_service_pb2.Dataset(name="datasets/people", rows=40, columns=2)
# An option as it is said, and the field of the wire that it becomes.
SAID: dict[str, tuple[Any, str, Any]] = {
    "prediction": ("flow-velocity", "prediction", denoising_pb2.PREDICTION_FLOW_VELOCITY),
    "weighting": ("soft-min-snr", "weighting", denoising_pb2.WEIGHTING_SOFT_MIN_SNR),
    "schedule": ("uniform-log-snr", "schedule", denoising_pb2.NOISE_SCHEDULE_UNIFORM_LOG_SNR),
    "levels": ("low-discrepancy", "levels", denoising_pb2.NOISE_LEVELS_LOW_DISCREPANCY),
    "head": ("levels", "head", denoising_pb2.HEAD_LEVELS),
    "time_steps": (100, "time_steps", 100),
    "high": (7.5, "high", 7.5),
    "blocks": (2, "blocks", 2),
    "image": ((1, 8, 8), "image", [1, 8, 8]),
    "weight_decay": (0.5, "weight_decay", 0.5),
    "validation": (0.25, "validation", 0.25),
    "solver": ("dpm-solver", "solver", denoising_pb2.SOLVER_DPM_SOLVER),
    "solver_steps": (20, "solver_steps", 20),
    "score_of": ("funnel", "score_of", "targets/funnel"),
    "preset": ("thorough", "seconds", 300.0),
    "seconds": (5.0, "seconds", 5.0),
    "iterations": (7, "iterations", 7),
    "seed": (2**64 - 1, "seed", 2**64 - 1),
    "batch_size": (16, "batch_size", 16),
    "width": (4, "width", 4),
    "learning_rate": (0.01, "learning_rate", 0.01),
    "ema": (0.99, "ema", 0.99),
    "device": ("cuda", "device", pb.DEVICE_CUDA),
    "precision": ("float64", "precision", pb.PRECISION_FLOAT64),
}


@pytest.fixture
def server(fake: FakeServer) -> FakeServer:
    """A server that makes the job it is asked for."""
    fake.script["CreateTrainingJob"] = lambda request, context: pb.TrainingJob(
        name=NAME, dataset=request.dataset, denoising=request.denoising
    )
    fake.script["GetDataset"] = lambda request, context: DATASET
    return fake


def sent(server: FakeServer) -> dict[str, Any]:
    """The fields of the request that came last, which must be about the data set."""
    request = server.calls[-1][1]
    assert (request.dataset, request.target, request.HasField("config")) == ("datasets/people", "", False)
    return {field.name: value for field, value in request.denoising.ListFields()}


def commands() -> dict[str, Any]:
    parameters = typer.main.get_command(app).commands["train"].params  # type: ignore[attr-defined]
    return {parameter.name: parameter for parameter in parameters}


def test_no_option_is_left_out_of_these_tests() -> None:
    assert set(SAID) == {field.name for field in pb.DenoisingConfig.DESCRIPTOR.fields} | {"preset"}
    assert set(DenoisingOptions.__annotations__) <= set(SAID) & set(commands())


@pytest.mark.parametrize("name", SAID)
def test_both_clients_and_the_command_line_send_what_was_said(server: FakeServer, client: Client, name: str) -> None:
    value, field, number = SAID[name]
    expected = {"seed": 0, field: number}
    options: Any = {name: value}
    client.train(client.dataset("people"), **options)
    assert sent(server) == expected
    client.train("people", "denoising", **options)
    assert sent(server) == expected

    async def twin() -> None:
        async with AsyncClient(server.address) as client:
            await client.train("datasets/people", **options)

    asyncio.run(twin())
    assert sent(server) == expected
    said = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    words = ["--dataset", "people", f"--{name.replace('_', '-')}", said, "--detach", "--server", server.address]
    for method in ([], ["--method", "denoising"]):
        result = CliRunner().invoke(app, ["train", *words, *method])
        assert result.exit_code == 0, result.output
        assert sent(server) == expected


def test_only_what_the_user_said_is_sent(server: FakeServer, client: Client) -> None:
    job = client.train("datasets/people")
    assert sent(server) == {"seed": 0}
    assert (job.dataset, job.target, job.options) == ("datasets/people", "", {"method": "denoising", "seed": 0})
    assert job.to_json()["dataset"] == "datasets/people"


def test_what_a_job_runs_with_is_told_in_words(server: FakeServer, client: Client) -> None:
    said: dict[str, Any] = {"prediction": "noise", "weighting": "p2", "image": (1, 2, 3), "iterations": 5, "seed": 0}
    job = client.train("datasets/people", **said)
    assert job.options == {"method": "denoising", **said}
    assert "denoising · noise · p2" in repr(job)
    server.script["CreateTrainingJob"] = lambda request, context: pb.TrainingJob(
        name=NAME, dataset="datasets/people", denoising=pb.DenoisingConfig(weighting=99),  # type: ignore[arg-type]
    )  # fmt: skip
    assert client.train("datasets/people").options == {"method": "denoising", "weighting": "unknown"}


DATA, TARGET = "datasets/people", "targets/funnel"
WRONG: list[tuple[str, dict[str, Any], str, str, str]] = [
    (DATA, {"prediction": "x0"}, "UNKNOWN_PREDICTION", "denoising.prediction", "noise, data, velocity"),
    (DATA, {"weighting": "vlb"}, "UNKNOWN_WEIGHTING", "denoising.weighting", "elbo, simple"),
    (DATA, {"schedule": "sigmoid"}, "UNKNOWN_SCHEDULE", "denoising.schedule", "cosine, linear"),
    (DATA, {"levels": "random"}, "UNKNOWN_LEVELS", "denoising.levels", "uniform, low-discrepancy"),
    (DATA, {"head": "softmax"}, "UNKNOWN_HEAD", "denoising.head", "auto, continuous, levels"),
    (DATA, {"solver": "euler"}, "UNKNOWN_SOLVER", "denoising.solver", "ancestral, ancestral-large"),
    (DATA, {"seconds": 1, "iterations": 1}, "BUDGET_OUT_OF_RANGE", "denoising.iterations", "one of preset, seconds"),
    (DATA, {"preset": "long"}, "UNKNOWN_PRESET", "preset", "quick, standard, thorough"),
    (DATA, {"blocks": "two"}, "FIELD_INVALID", "denoising.blocks", "two"),
    (DATA, {"image": 8}, "FIELD_INVALID", "denoising.image", "channels, height and width"),
    (DATA, {"image": ("a", 1, 2)}, "FIELD_INVALID", "denoising.image", "channels"),
    (DATA, {"loss": "rkl-ld"}, "INCONSISTENT_SETTINGS", "loss", "samplers of a target"),
    (DATA, {"start": "some-sampler"}, "INCONSISTENT_SETTINGS", "start", "samplers of a target"),
    (DATA, {"method": "dbs"}, "INCONSISTENT_SETTINGS", "method", "denoising"),
    (TARGET, {"method": "denoising"}, "INCONSISTENT_SETTINGS", "method", "upload"),
    (TARGET, {"prediction": "noise"}, "INCONSISTENT_SETTINGS", "prediction", "is a target"),
    (TARGET, {"score_of": "other"}, "INCONSISTENT_SETTINGS", "score_of", "is a target"),
]


@pytest.mark.parametrize(("subject", "options", "reason", "field", "tells"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_never_leaves_the_client(
    server: FakeServer, client: Client, subject: str, options: dict[str, Any], reason: str, field: str, tells: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=tells) as caught:
        client.train(subject, **options)
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert server.calls == []


DEFAULTS = DenoisingSettings()
HELP = ("weighting", "schedule", "levels", "head", "blocks", "validation", "solver", "solver_steps")


@pytest.mark.parametrize("name", HELP)
def test_the_defaults_that_help_tells_are_the_servers(name: str) -> None:
    assert commands()[name].help.endswith(f"{getattr(DEFAULTS, name)} if not given.")


def test_the_docstring_tells_the_shared_defaults() -> None:
    text = " ".join((DenoisingOptions.__doc__ or "").split())
    for name in ("batch_size", "width", "learning_rate", "ema"):
        assert f"{name} ({getattr(DEFAULTS, name)})" in text
    assert f"{DEFAULTS.budget.seconds:g} s if no budget is given" in text


@pytest.mark.parametrize("words", [[], ["funnel", "--dataset", "people"], ["--dataset", "people", "--image", "8x8"]])
def test_the_command_line_refuses_what_names_no_one_thing(server: FakeServer, words: list[str]) -> None:
    result = CliRunner().invoke(app, ["train", *words, "--detach", "--server", server.address])
    assert (result.exit_code, server.count("CreateTrainingJob")) == (2, 0)


def test_progress_tells_the_loss_as_a_fraction_of_the_gaussians() -> None:
    bins = [denoising_pb2.LevelBin(low=-2, high=2, loss=0.5)]
    message = pb.TrainingMetrics(
        stage="train", step=9, seconds=3, fraction=0.5, loss=0.8125, validation=0.875, steps_per_second=30, bins=bins
    )
    metrics = metrics_from_message(message)
    said = "train · step 9 · loss 0.812 of a Gaussian's · held out 0.875 of a Gaussian's · 30.0/s · 0:03 left"
    assert summary(metrics) == said
    assert [(each.low, each.high, each.loss) for each in metrics.bins] == [(-2, 2, 0.5)]
    message.validation = float("nan")
    assert "held out" not in summary(metrics_from_message(message))


def test_lists_and_tables_show_models_beside_samplers(server: FakeServer) -> None:
    report = denoising_pb2.DenoisingReport(
        rows=36, dim=2, loss=0.75, validation=denoising_pb2.Likelihood(nats=1.25, rows=4), warnings=["few rows"]
    )
    model = sampler_service_pb2.Sampler(
        name="samplers/people-model", dataset="datasets/people", denoising_report=report, dim=2,
        denoising=pb.DenoisingConfig(),
    )  # fmt: skip
    bridge = sampler_service_pb2.Sampler(name="samplers/bridge", target="targets/funnel", dim=10)
    job = pb.TrainingJob(name=NAME, dataset="datasets/people", state=pb.JOB_STATE_SUCCEEDED, sampler=model.name)
    server.script |= {
        "ListSamplers": lambda request, context: sampler_service_pb2.ListSamplersResponse(samplers=[model, bridge]),
        "ListTrainingJobs": lambda request, context: pb.ListTrainingJobsResponse(training_jobs=[job]),
        "CreateTrainingJob": lambda request, context: job,
        "GetTrainingJob": lambda request, context: job,
        "WatchTrainingJob": lambda request, context: iter(()),
        "GetSampler": lambda request, context: model,
    }

    def shown(*arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments, "--server", server.address], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "1.2500" in shown("samplers")
    assert "people" in shown("jobs")
    told = shown("train", "--dataset", "people")
    assert "0.750 of a Gaussian's" in told
    assert "warning: few rows" in told
    assert '"loss": 0.75' in shown("train", "--dataset", "people", "--json")
