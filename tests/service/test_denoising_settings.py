"""Options of models of data on the wire: nothing is lost either way, and what is wrong is refused by its own name."""

from collections.abc import Mapping
from dataclasses import fields, replace
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gephyra.clients import denoising as client
from gephyra.protos import denoising_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.denoising.report import DenoisingMetrics, DenoisingReport, LevelBin, Likelihood
from gephyra.samplers.denoising.settings import (
    DenoisingSettings,
    Head,
    LevelsName,
    PredictionName,
    ScheduleName,
    SolverName,
    WeightingName,
)
from gephyra.samplers.settings import Budget, Device, Precision
from gephyra.service import convert
from gephyra.service.denoising import (
    from_denoising,
    from_denoising_report,
    from_solver,
    to_denoising,
    to_denoising_report,
    to_solver,
)
from gephyra.service.errors import InvalidArgument

SHARE = st.floats(0.0, 1 - 1e-6)
DOMAINS: dict[str, st.SearchStrategy[Any]] = {
    "prediction": st.none() | st.sampled_from(PredictionName),
    "weighting": st.sampled_from(WeightingName),
    "schedule": st.sampled_from(ScheduleName),
    "levels": st.sampled_from(LevelsName),
    "head": st.sampled_from(Head),
    "time_steps": st.none() | st.integers(2, 2**20),
    "high": st.none() | st.floats(1e-3, 1e3),
    "budget": st.integers(1, 2**40).map(lambda n: Budget(iterations=n))
    | st.floats(1e-3, 1e9).map(lambda s: Budget(seconds=s)),
    "seed": st.integers(0, 2**64 - 1),
    "batch_size": st.integers(2, 2**16),
    "width": st.integers(1, 4096),
    "blocks": st.integers(1, 64),
    "image": st.none() | st.tuples(*[st.integers(1, 64)] * 3),
    "learning_rate": st.floats(1e-6, 0.5),
    "weight_decay": st.floats(0.0, 1000.0),
    "ema": SHARE,
    "validation": SHARE,
    "solver": st.sampled_from(SolverName),
    "solver_steps": st.integers(1, 4096),
    "device": st.sampled_from(Device),
    "precision": st.sampled_from(Precision),
}


@st.composite
def denoising_settings(draw: st.DrawFn) -> DenoisingSettings:
    """Any settings that go together."""
    values = {name: draw(values) for name, values in DOMAINS.items()}
    if values["head"] is Head.LEVELS:
        values["prediction"] = None
    return DenoisingSettings(**values)


def test_no_field_is_left_out_of_these_tests() -> None:
    assert set(DOMAINS) == {field.name for field in fields(DenoisingSettings)}


@given(settings=denoising_settings())
def test_settings_survive_the_wire_and_the_clients_words(settings: DenoisingSettings) -> None:
    config = pb.DenoisingConfig.FromString(to_denoising(settings).SerializeToString())
    assert from_denoising(config) == settings
    assert DenoisingSettings.from_json(settings.to_json()) == settings
    options = client.denoising_options(config)
    assert client.denoising_config(options) == config


def test_every_field_of_the_wire_is_one_of_the_settings() -> None:
    full = DenoisingSettings(PredictionName.DATA, time_steps=5, high=3.0, image=(1, 2, 3))
    sent = {field.name for field, _ in to_denoising(full).ListFields()}
    budgets = {field.name for field in pb.DenoisingConfig.DESCRIPTOR.oneofs_by_name["budget"].fields}
    # `score_of` names a resource: the job has it, its settings do not.
    assert sent | budgets | {"score_of"} == {field.name for field in pb.DenoisingConfig.DESCRIPTOR.fields}


def test_an_empty_config_means_the_defaults() -> None:
    assert from_denoising(pb.DenoisingConfig()) == DenoisingSettings()


ENUMS: list[tuple[str, str, Any, type[StrEnum], Mapping[str, int]]] = [
    ("prediction", "PREDICTION_", denoising_pb2.Prediction, PredictionName, client.PREDICTIONS),
    ("weighting", "WEIGHTING_", denoising_pb2.Weighting, WeightingName, client.WEIGHTINGS),
    ("schedule", "NOISE_SCHEDULE_", denoising_pb2.NoiseSchedule, ScheduleName, client.SCHEDULES),
    ("levels", "NOISE_LEVELS_", denoising_pb2.NoiseLevels, LevelsName, client.LEVELS),
    ("head", "HEAD_", denoising_pb2.Head, Head, client.HEADS),
    ("solver", "SOLVER_", denoising_pb2.Solver, SolverName, client.SOLVERS),
]


@pytest.mark.parametrize(("option", "prefix", "wire", "ours", "clients"), ENUMS, ids=[row[0] for row in ENUMS])
def test_client_wire_and_settings_have_the_same_words(
    option: str, prefix: str, wire: Any, ours: type[StrEnum], clients: Mapping[str, int]
) -> None:
    spelt = {name.removeprefix(prefix).lower().replace("_", "-"): number for name, number in wire.items() if number}
    assert dict(clients) == spelt
    assert set(spelt) == set(ours)
    for word, number in spelt.items():
        head = {"head": denoising_pb2.HEAD_CONTINUOUS} if option != "head" else {}
        assert getattr(from_denoising(pb.DenoisingConfig(**{**head, option: number})), option) == word


@pytest.mark.parametrize("solver", [None, *SolverName])
def test_solvers_survive_the_wire(solver: SolverName | None) -> None:
    assert from_solver(to_solver(solver) or 0, "solver") is solver


NAN, INF = float("nan"), float("inf")
LEVELS_AND_NOISE = {"head": denoising_pb2.HEAD_LEVELS, "prediction": denoising_pb2.PREDICTION_NOISE}
# What comes, the reason, the field at fault, and what the sentence tells of the allowed.
REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    *[({"seconds": bad}, "BUDGET_OUT_OF_RANGE", "seconds", "positive and finite") for bad in (-1.0, 0.0, INF, NAN)],
    *[({"iterations": bad}, "BUDGET_OUT_OF_RANGE", "iterations", "at least 1") for bad in (0, -3)],
    ({"prediction": 99}, "UNKNOWN_PREDICTION", "prediction", ", ".join(PredictionName)),
    ({"weighting": 99}, "UNKNOWN_WEIGHTING", "weighting", ", ".join(WeightingName)),
    ({"schedule": 99}, "UNKNOWN_SCHEDULE", "schedule", ", ".join(ScheduleName)),
    ({"levels": 99}, "UNKNOWN_LEVELS", "levels", ", ".join(LevelsName)),
    ({"head": 99}, "UNKNOWN_HEAD", "head", ", ".join(Head)),
    ({"solver": 99}, "UNKNOWN_SOLVER", "solver", ", ".join(SolverName)),
    ({"device": 99}, "UNKNOWN_DEVICE", "device", ", ".join(Device)),
    ({"precision": 99}, "UNKNOWN_PRECISION", "precision", ", ".join(Precision)),
    (LEVELS_AND_NOISE, "INCONSISTENT_SETTINGS", "prediction", "must be data with head levels"),
    *[({"time_steps": bad}, "FIELD_INVALID", "time_steps", "between 2 and") for bad in (0, 1, 2**20 + 1)],
    *[({"high": bad}, "FIELD_INVALID", "high", "positive and finite") for bad in (0.0, -1.0, INF, NAN)],
    *[({"batch_size": bad}, "FIELD_INVALID", "batch_size", "between 2 and 65536") for bad in (1, 2**16 + 1)],
    *[({"width": bad}, "FIELD_INVALID", "width", "between 1 and 4096") for bad in (0, 4097)],
    *[({"blocks": bad}, "FIELD_INVALID", "blocks", "between 1 and 64") for bad in (0, 65)],
    *[({"image": bad}, "FIELD_INVALID", "image", "channels, height and width") for bad in ([8], [1, 0, 8], [1] * 4)],
    *[({"learning_rate": bad}, "FIELD_INVALID", "learning_rate", "between 0 and 1") for bad in (0.0, 1.0, NAN)],
    *[({"ema": bad}, "FIELD_INVALID", "ema", "below 1") for bad in (-0.1, 1.0, NAN)],
    *[({"weight_decay": bad}, "FIELD_INVALID", "weight_decay", "between 0 and 1000") for bad in (-0.1, 1001.0, NAN)],
    *[({"validation": bad}, "FIELD_INVALID", "validation", "below 1") for bad in (-0.1, 1.0, NAN)],
    *[({"solver_steps": bad}, "FIELD_INVALID", "solver_steps", "between 1 and 4096") for bad in (0, 4097)],
]


@pytest.mark.parametrize(("given", "reason", "field", "tells"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_outside_its_domain_is_refused_by_name(
    given: dict[str, Any], reason: str, field: str, tells: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        from_denoising(pb.DenoisingConfig(**given))
    (violation,) = caught.value.violations
    assert (caught.value.reason, violation.field) == (reason, f"denoising.{field}")
    assert tells in violation.description


LIKELIHOOD = Likelihood(1.5, 0.25, 0.75, 40)
REPORT = DenoisingReport(360, 2, False, 400, 300, 0.75, LIKELIHOOD, None, 1.25, 400, ("short",))


@pytest.mark.parametrize("report", [REPORT, replace(REPORT, validation=None, gaussian=LIKELIHOOD, discrete=True)])
def test_reports_survive_the_wire(report: DenoisingReport) -> None:
    assert from_denoising_report(to_denoising_report(report)) == report


@pytest.mark.parametrize("bins", [(), (LevelBin(-3.0, 1.0, 0.5), LevelBin(1.0, 5.0, 0.25))])
def test_metrics_survive_the_wire(bins: tuple[LevelBin, ...]) -> None:
    metrics = DenoisingMetrics("train", 3, 1.5, 0.25, 0.9, 0.95, 12.5, bins)
    assert convert.from_metrics(convert.to_metrics(metrics)) == metrics
