"""Every option of training, said in Python or on the command line, is one typed field of the request."""

import asyncio
import inspect
import re
from collections.abc import Mapping
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gephyra.clients import errors
from gephyra.clients.aio import AsyncClient
from gephyra.clients.cli.app import app
from gephyra.clients.denoising import METHOD, DenoisingOptions
from gephyra.clients.sync import Client
from gephyra.clients.words import DEVICES, INTEGRATORS, LOSSES, METHODS, PRECISIONS, PRECONDITIONS, PRESETS
from gephyra.protos import dataset_service_pb2, sampler_service_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.settings import Integrator, Learn, TrainingSettings
from tests.clients.fake import FakeServer

NAME = "trainingJobs/some-job"
# An option as it is said, and the field of the wire that it becomes.
SAID: dict[str, tuple[Any, str, Any]] = {
    "method": ("cmcd-ud", "method", pb.METHOD_CMCD_UD),
    "loss": ("tr-lv", "loss", pb.LOSS_TR_LV),
    "precondition": ("annealed", "precondition", pb.PRECONDITION_ANNEALED),
    "preset": ("thorough", "seconds", 300.0),
    "seconds": (5.0, "seconds", 5.0),
    "iterations": (7, "iterations", 7),
    "target_evaluations": (10**12, "target_evaluations", 10**12),
    "goal_ess_fraction": (0.9, "goal_ess_fraction", 0.9),
    "goal_gap": (0.1, "goal_gap", 0.1),
    "start": ("some-sampler", "start", "samplers/some-sampler"),
    "samples": ("some-draws", "samples", "datasets/some-draws"),
    "seed": (2**64 - 1, "seed", 2**64 - 1),
    "steps": (8, "steps", 8),
    "batch_size": (16, "batch_size", 16),
    "width": (4, "width", 4),
    "integrator": ("obabo", "integrator", pb.INTEGRATOR_OBABO),
    "learning_rate": (0.01, "learning_rate", 0.01),
    "learn_diffusion": (False, "learn_diffusion", False),
    "learn_prior": (False, "learn_prior", False),
    "learn_annealing": (True, "learn_annealing", True),
    "learn_time": (False, "learn_time", False),
    "diffusion_rate": (2.0, "diffusion_rate", 2.0),
    "prior_rate": (0.5, "prior_rate", 0.5),
    "annealing_rate": (3.0, "annealing_rate", 3.0),
    "time_rate": (4.0, "time_rate", 4.0),
    "reward_to_go": (True, "reward_to_go", True),
    "ema": (0.99, "ema", 0.99),
    "device": ("cuda", "device", pb.DEVICE_CUDA),
    "precision": ("float64", "precision", pb.PRECISION_FLOAT64),
    "workers": (4, "workers", 4),
}
BUDGETS = {"preset", "seconds", "iterations", "target_evaluations"}


@pytest.fixture
def server(fake: FakeServer) -> FakeServer:
    """A server that makes the job it is asked for."""
    fake.script["CreateTrainingJob"] = lambda request, context: pb.TrainingJob(
        name=NAME, target=request.target, config=request.config
    )
    return fake


def sent(server: FakeServer) -> dict[str, Any]:
    """The fields of the request that came last."""
    return {field.name: value for field, value in server.calls[-1][1].config.ListFields()}


def expected(name: str) -> dict[str, Any]:
    _, field, value = SAID[name]
    seed = {} if name == "seed" else {"seed": 0}
    return {**seed, **({} if name in BUDGETS else {"seconds": 60.0}), field: value}


def commands() -> dict[str, Any]:
    """The options of `gephyra train` by name."""
    parameters = typer.main.get_command(app).commands["train"].params  # type: ignore[attr-defined]
    return {parameter.name: parameter for parameter in parameters}


def test_no_option_is_left_out_of_these_tests() -> None:
    assert set(SAID) == set(inspect.signature(AsyncClient.train).parameters) - {"self", "target", "model"}
    others = {"target", "dataset", "detach", "server", "folder", "as_json"}
    assert set(SAID) == set(commands()) - others - set(DenoisingOptions.__annotations__)
    fields = {field.name for field in pb.TrainingConfig.DESCRIPTOR.fields}
    assert fields | {"preset"} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_both_clients_and_the_command_line_send_what_was_said(server: FakeServer, client: Client, name: str) -> None:
    value, _, _ = SAID[name]
    client.train("some-target", **{name: value})
    assert sent(server) == expected(name)

    async def twin() -> None:
        async with AsyncClient(server.address) as client:
            await client.train("targets/some-target", **{name: value})

    asyncio.run(twin())
    assert sent(server) == expected(name)
    option = "--" + ("no-" if value is False else "") + name.replace("_", "-")
    words = [option] if isinstance(value, bool) else [option, str(value)]
    result = CliRunner().invoke(app, ["train", "some-target", *words, "--detach", "--server", server.address])
    assert result.exit_code == 0, result.output
    assert sent(server) == expected(name)
    assert {request.target for _, request in server.calls} == {"targets/some-target"}


def test_only_what_the_user_said_is_sent(server: FakeServer, client: Client) -> None:
    client.train("some-target")
    assert sent(server) == {"seed": 0, "seconds": PRESETS["standard"]}


def test_a_sampler_itself_is_a_start(server: FakeServer, client: Client) -> None:
    message = sampler_service_pb2.Sampler(name="samplers/mine")
    server.script["GetSampler"] = lambda request, context: message
    job = client.train("some-target", "cmcd", "lv", start=client.sampler("mine"), iterations=5)
    assert job.options == {"method": "cmcd", "loss": "lv", "iterations": 5, "seed": 0, "start": "samplers/mine"}
    assert "samplers/mine" in repr(job)
    assert "cmcd · lv" in repr(job)
    assert job.to_json()["options"] == job.options


def test_a_data_set_itself_may_be_the_samples(server: FakeServer, client: Client) -> None:
    server.script["GetDataset"] = lambda request, context: dataset_service_pb2.Dataset(name="datasets/mine")
    job = client.train("some-target", samples=client.dataset("mine"), iterations=5)
    assert job.options == {"iterations": 5, "seed": 0, "samples": "datasets/mine"}


def test_a_word_of_a_later_server_is_shown_as_unknown(server: FakeServer, client: Client) -> None:
    config = pb.TrainingConfig(method=99)  # type: ignore[arg-type]
    server.script["CreateTrainingJob"] = lambda request, context: pb.TrainingJob(name=NAME, config=config)
    assert client.train("some-target").options == {"method": "unknown"}


WRONG: list[tuple[dict[str, Any], str, str, str]] = [
    ({"method": "nuts"}, "UNKNOWN_METHOD", "config.method", ", ".join(METHODS)),
    ({"method": ["dbs"]}, "UNKNOWN_METHOD", "config.method", "dbs, cmcd"),
    ({"loss": "kl"}, "UNKNOWN_LOSS", "config.loss", "rkl-ld, rkl-r, lv"),
    ({"precondition": "nice"}, "UNKNOWN_PRECONDITION", "config.precondition", "none, diagonal, gaussian"),
    ({"integrator": "euler"}, "UNKNOWN_INTEGRATOR", "config.integrator", "obab, obabo"),
    ({"device": "tpu"}, "UNKNOWN_DEVICE", "config.device", "auto, cpu, cuda"),
    ({"precision": "float16"}, "UNKNOWN_PRECISION", "config.precision", "float32, float64"),
    ({"preset": "long"}, "UNKNOWN_PRESET", "preset", "quick, standard, thorough"),
    ({"seconds": 1, "iterations": 1}, "BUDGET_OUT_OF_RANGE", "config.iterations", "one of preset, seconds"),
    ({"iterations": 1, "target_evaluations": 1}, "BUDGET_OUT_OF_RANGE", "config.target_evaluations", "one of preset"),
    ({"preset": "quick", "target_evaluations": 1}, "BUDGET_OUT_OF_RANGE", "preset", "target_evaluations"),
    ({"seconds": "soon"}, "FIELD_INVALID", "config.seconds", "soon"),
    ({"iterations": 0.5}, "FIELD_INVALID", "config.iterations", "0.5"),
    ({"seed": -1}, "FIELD_INVALID", "config.seed", "-1"),
    ({"learn_time": "yes"}, "FIELD_INVALID", "config.learn_time", "yes"),
    ({"goal_gap": "small"}, "FIELD_INVALID", "config.goal_gap", "small"),
]


@pytest.mark.parametrize(("options", "reason", "field", "tells"), WRONG, ids=lambda value: str(value)[:40])
def test_unknown_words_and_two_budgets_never_leave_the_client(
    server: FakeServer, client: Client, options: dict[str, Any], reason: str, field: str, tells: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=tells) as caught:
        client.train("some-target", **options)
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert server.calls == []


DEFAULTS = TrainingSettings()
HELP: dict[str, Any] = {
    **{name: getattr(DEFAULTS, name) for name in ("method", "loss", "precondition", "device", "precision", "ema")},
    **{name: getattr(DEFAULTS, name) for name in ("steps", "batch_size", "width", "learning_rate", "workers")},
    **{f"{part}_rate": getattr(Learn(), f"{part}_rate") for part in ("diffusion", "prior", "annealing", "time")},
    **{
        f"learn_{part}": "on" if getattr(Learn(), part) else "off"
        for part in ("diffusion", "prior", "annealing", "time")
    },
    "reward_to_go": "on" if DEFAULTS.reward_to_go else "off",
    "integrator": Integrator.OBAB,
}


@pytest.mark.parametrize("name", HELP)
def test_the_defaults_that_help_tells_are_the_servers(name: str) -> None:
    assert commands()[name].help.endswith(f"{HELP[name]} if not given.")


def entry(name: str) -> str:
    """What the docstring of `train` says of an argument."""
    (found,) = re.findall(
        rf"^    {name}: (.*?)(?=^    [*]*\w+: |^$)", inspect.getdoc(AsyncClient.train) or "", re.M | re.S
    )
    return str(found)


@pytest.mark.parametrize("name", ["steps", "batch_size", "width", "learning_rate", "workers"])
def test_the_docstring_tells_the_servers_defaults(name: str) -> None:
    assert entry(name).strip().endswith(f"; {getattr(DEFAULTS, name)}.")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("method", METHODS), ("loss", LOSSES), ("precondition", PRECONDITIONS), ("integrator", INTEGRATORS),
        ("device", DEVICES), ("precision", PRECISIONS),
    ],
)  # fmt: skip
def test_the_docstring_lists_the_words(name: str, words: Mapping[str, int]) -> None:
    others = {METHOD} if name == "method" else set()
    assert set(re.findall(r"`([^`]+)`", entry(name))) == set(words) | others
    assert f"`{HELP[name]}` (default" in entry(name)


@pytest.mark.parametrize(("word", "seconds"), PRESETS.items())
def test_the_docstring_tells_the_presets(word: str, seconds: float) -> None:
    assert f"`{word}` ({seconds:.0f} s" in entry("preset")


def test_help_is_in_groups() -> None:
    shown = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).stdout
    order = [" Budget", "--seconds", " Model", "--method", " What is learned", "--learn-time", " Machine", "--device"]
    order += [" Of a data set", "--prediction"]
    places = [shown.rindex(part) for part in order]
    assert places == sorted(places)
