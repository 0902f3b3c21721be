"""Training options on the wire: nothing is lost either way, and what is wrong is refused by its own name."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import StrEnum
from typing import Any

import pytest
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from gephyra.clients import words
from gephyra.protos import sampler_service_pb2 as sampler_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers import settings as domain
from gephyra.samplers.draws import Draws, Polish
from gephyra.samplers.prepare import check_start
from gephyra.samplers.settings import (
    Budget,
    Device,
    Goal,
    Integrator,
    Learn,
    Loss,
    Method,
    Precision,
    Precondition,
    TrainingSettings,
)
from gephyra.service import errors
from gephyra.service.errors import InvalidArgument
from gephyra.service.settings import from_config, from_how, to_config, to_how

SHARE = st.floats(1e-6, 1 - 1e-6)
POSITIVE = st.floats(1e-6, 100.0)
BUDGETS = st.one_of(
    st.integers(1, 2**40).map(lambda n: Budget(iterations=n)),
    st.floats(1e-3, 1e9).map(lambda s: Budget(seconds=s)),
    st.integers(1, 2**60).map(lambda n: Budget(target_evaluations=n)),
)
DOMAINS: dict[str, st.SearchStrategy[Any]] = {
    "method": st.sampled_from(Method),
    "loss": st.sampled_from(Loss),
    "precondition": st.sampled_from(Precondition),
    "integrator": st.none() | st.sampled_from(Integrator),
    "budget": BUDGETS,
    "goal": st.builds(Goal, ess_fraction=st.none() | SHARE, gap=st.none() | POSITIVE),
    "seed": st.integers(0, 2**64 - 1),
    "batch_size": st.integers(2, 2**16),
    "steps": st.integers(1, 4096),
    "width": st.integers(1, 4096),
    "learning_rate": st.floats(1e-6, 0.5),
    "learn": st.builds(Learn, *[st.booleans()] * 4, *[POSITIVE] * 4),
    "reward_to_go": st.booleans(),
    "ema": st.floats(0.0, 1 - 1e-6),
    "device": st.sampled_from(Device),
    "precision": st.sampled_from(Precision),
    "workers": st.integers(1, 64),
}


@st.composite
def training_settings(draw: st.DrawFn) -> TrainingSettings:
    """Any settings that go together."""
    values = {name: draw(values) for name, values in DOMAINS.items()}
    if not values["method"].underdamped:
        values["integrator"] = None
    values["reward_to_go"] = values["reward_to_go"] and values["loss"] is Loss.RKL_LD
    values["workers"] = values["workers"] if values["batch_size"] % values["workers"] == 0 else 1
    return TrainingSettings(**values)


def test_no_field_is_left_out_of_these_tests() -> None:
    assert set(DOMAINS) == {field.name for field in fields(TrainingSettings)}
    assert (len(fields(Learn)), len(fields(Goal)), len(fields(Budget))) == (8, 2, 3)


@given(settings=training_settings())
def test_settings_survive_the_wire_and_the_clients_words(settings: TrainingSettings) -> None:
    config = pb.TrainingConfig.FromString(to_config(settings).SerializeToString())
    assert from_config(config) == settings
    options = words.train_options(config)
    assert words.training_config(**options) == config
    said = {name: options.get(name) for name in ("method", "loss", "precondition", "integrator", "device", "precision")}
    assert said == {name: getattr(settings, name) for name in said}


def test_every_field_of_the_wire_is_one_of_the_settings() -> None:
    full = TrainingSettings(Method.DBS_UD, integrator=Integrator.OBAB, goal=Goal(0.5, 0.1))
    sent = {field.name for field, _ in to_config(full).ListFields()}
    budgets = {field.name for field in pb.TrainingConfig.DESCRIPTOR.oneofs_by_name["budget"].fields}
    assert sent | budgets | {"start", "samples"} == {field.name for field in pb.TrainingConfig.DESCRIPTOR.fields}


def test_an_empty_config_means_the_defaults() -> None:
    assert from_config(pb.TrainingConfig()) == TrainingSettings()


ENUMS: list[tuple[str, Any, type[StrEnum], Mapping[str, int]]] = [
    ("METHOD", pb.Method, Method, words.METHODS),
    ("LOSS", pb.Loss, Loss, words.LOSSES),
    ("PRECONDITION", pb.Precondition, Precondition, words.PRECONDITIONS),
    ("INTEGRATOR", pb.Integrator, Integrator, words.INTEGRATORS),
    ("DEVICE", pb.Device, Device, words.DEVICES),
    ("PRECISION", pb.Precision, Precision, words.PRECISIONS),
]


@pytest.mark.parametrize(("prefix", "wire", "ours", "clients"), ENUMS, ids=[row[0] for row in ENUMS])
def test_client_wire_and_settings_have_the_same_words(
    prefix: str, wire: Any, ours: type[StrEnum], clients: Mapping[str, int]
) -> None:
    spelt = {name.removeprefix(f"{prefix}_").lower().replace("_", "-"): n for name, n in wire.items() if n}
    assert dict(clients) == spelt
    assert set(spelt) == set(ours)
    option = prefix.lower()
    for word, number in spelt.items():
        underdamped = {"method": pb.METHOD_DBS_UD} if option == "integrator" else {}
        config = pb.TrainingConfig(**{**underdamped, option: number})
        assert getattr(from_config(config), option) == word


def test_presets_are_those_of_the_settings() -> None:
    assert dict(words.PRESETS) == {word: word.seconds for word in domain.Preset}
    assert words.training_config().seconds == domain.Preset.STANDARD.seconds == TrainingSettings().budget.seconds
    assert words.training_config(preset="quick").seconds == 15


NAN, INF = float("nan"), float("inf")
# What comes, the reason, the field at fault (none: the only one given), and what the sentence tells of the allowed.
REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    *[({"seconds": bad}, "BUDGET_OUT_OF_RANGE", "", "positive and finite") for bad in (-1.0, 0.0, INF, NAN)],
    *[({"iterations": bad}, "BUDGET_OUT_OF_RANGE", "", "at least 1") for bad in (0, -3)],
    *[({"target_evaluations": bad}, "BUDGET_OUT_OF_RANGE", "", "at least 1") for bad in (0, -3)],
    ({"method": 99}, "UNKNOWN_METHOD", "", ", ".join(Method)),
    ({"loss": 99}, "UNKNOWN_LOSS", "", ", ".join(Loss)),
    ({"precondition": 99}, "UNKNOWN_PRECONDITION", "", ", ".join(Precondition)),
    ({"integrator": 99}, "UNKNOWN_INTEGRATOR", "", ", ".join(Integrator)),
    ({"device": 99}, "UNKNOWN_DEVICE", "", ", ".join(Device)),
    ({"precision": 99}, "UNKNOWN_PRECISION", "", ", ".join(Precision)),
    *[({"goal_ess_fraction": bad}, "FIELD_INVALID", "", "between 0 and 1") for bad in (0.0, 1.0, NAN)],
    *[({"goal_gap": bad}, "FIELD_INVALID", "", "positive and finite") for bad in (0.0, -1.0, INF, NAN)],
    *[({"batch_size": bad}, "FIELD_INVALID", "", "between 2 and 65536") for bad in (-1, 1, 2**16 + 1)],
    *[({"steps": bad}, "FIELD_INVALID", "", "between 1 and 4096") for bad in (0, 4097)],
    *[({"width": bad}, "FIELD_INVALID", "", "between 1 and 4096") for bad in (0, 4097)],
    *[({"learning_rate": bad}, "FIELD_INVALID", "", "between 0 and 1") for bad in (-1.0, 0.0, 1.0, NAN)],
    *[
        ({f"{part}_rate": bad}, "FIELD_INVALID", "", "positive and at most 100")
        for part in ("diffusion", "prior", "annealing", "time")
        for bad in (0.0, -1.0, 101.0, NAN)
    ],
    *[({"ema": bad}, "FIELD_INVALID", "", "at least 0 and below 1") for bad in (-0.1, 1.0, NAN)],
    *[
        (
            {"integrator": pb.INTEGRATOR_OBABO, **method},
            "INCONSISTENT_SETTINGS",
            "integrator",
            "dbs-ud, cmcd-ud, dis-ud",
        )
        for method in ({}, {"method": pb.METHOD_PIS})
    ],
    ({"reward_to_go": True, "loss": pb.LOSS_LV}, "INCONSISTENT_SETTINGS", "reward_to_go", "rkl-ld"),
    *[({"workers": bad}, "FIELD_INVALID", "", "between 1 and 64") for bad in (-1, 0, 65)],
    ({"workers": 3}, "INCONSISTENT_SETTINGS", "", "must divide batch_size"),
    ({"batch_size": 9, "workers": 2}, "INCONSISTENT_SETTINGS", "workers", "2 workers and batch_size 9"),
]


@pytest.mark.parametrize(("values", "reason", "field", "allowed"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_refused_by_its_own_name(
    values: dict[str, Any], reason: str, field: str, allowed: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        from_config(pb.TrainingConfig(**values))
    (violation,) = caught.value.violations
    assert (caught.value.reason, violation.field) == (reason, f"config.{field or next(iter(values))}")
    assert allowed in violation.description
    assert errors.to_status(caught.value).code == code_pb2.INVALID_ARGUMENT


def test_every_complaint_of_the_settings_is_about_a_field_of_the_wire() -> None:
    """The sentences in the source of the settings: the first word of each is what the violation names."""
    first = set(re.findall(r'raise (?:ValueError|Inconsistent)\(\s*f?"(\S+) ', inspect.getsource(domain)))
    # A oneof cannot hold two budgets; `{name}` stands for fields in the table above.
    named = first - {"budget:", "{name}"}
    assert {"seconds", "goal_gap", "ema", "integrator", "reward_to_go", "workers"} <= named
    assert named <= {field.name for field in pb.TrainingConfig.DESCRIPTOR.fields}


HOW = st.builds(Draws, st.booleans(), st.just(False), st.sampled_from(Polish), st.integers(1, 1000)) | st.builds(
    Draws, st.booleans(), st.booleans(), st.sampled_from((Polish.NONE, Polish.MALA)), st.integers(1, 1000)
)


@given(how=HOW)
def test_ways_to_draw_survive_the_wire_and_the_clients_words(how: Draws) -> None:
    message = sampler_pb2.DrawSettings.FromString(to_how(how).SerializeToString())
    assert from_how(message, Method.CMCD) == how
    assert from_how(words.draw_settings(how.resample, how.smc, how.polish, how.polish_steps), Method.CMCD) == how


def test_ways_to_draw_have_the_same_words_and_defaults_everywhere() -> None:
    assert from_how(sampler_pb2.DrawSettings(), Method.DBS) == Draws()
    assert from_how(words.draw_settings(False, False, None, None), Method.DBS) == Draws()
    assert set(words.POLISHES) == set(Polish)
    assert {field.name for field in sampler_pb2.DrawSettings.DESCRIPTOR.fields} == {f.name for f in fields(Draws)}


@pytest.mark.parametrize(
    ("values", "reason", "field", "allowed"),
    [
        ({"polish": 99}, "UNKNOWN_POLISH", "polish", ", ".join(Polish)),
        ({"polish_steps": 0}, "FIELD_INVALID", "polish_steps", "between 1 and 1000"),
        ({"smc": True}, "INCONSISTENT_SETTINGS", "smc", "cmcd, mcd, ula"),
        ({"smc": True, "polish": sampler_pb2.POLISH_IMH}, "INCONSISTENT_SETTINGS", "polish", "mala"),
    ],
    ids=str,
)
def test_draws_that_cannot_be_made_are_refused(values: dict[str, Any], reason: str, field: str, allowed: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        from_how(sampler_pb2.DrawSettings(**values), Method.DBS)
    (violation,) = caught.value.violations
    assert (caught.value.reason, violation.field) == (reason, f"how.{field}")
    assert allowed in violation.description


EARLIER = TrainingSettings(
    Method.CMCD_UD, Loss.TB, Precondition.DIAGONAL, Integrator.OBABO, Budget(iterations=9), steps=7, width=5, seed=3
)


def test_a_run_that_goes_on_has_method_and_size_from_its_start() -> None:
    settings = from_config(pb.TrainingConfig(iterations=4, steps=7, loss=pb.LOSS_LV), EARLIER)
    check_start(settings, EARLIER, 3, 3)
    inherited = {name: getattr(EARLIER, name) for name in ("method", "precondition", "integrator", "steps", "width")}
    assert settings == replace(TrainingSettings(loss=Loss.LV, budget=Budget(iterations=4)), **inherited)


def test_the_default_integrator_may_be_said_or_not() -> None:
    silent = replace(EARLIER, integrator=None)
    assert from_config(pb.TrainingConfig(integrator=pb.INTEGRATOR_OBAB), silent).integrator is None
    with pytest.raises(InvalidArgument):
        from_config(pb.TrainingConfig(integrator=pb.INTEGRATOR_OBABO), silent)


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({"method": pb.METHOD_DBS}, "cmcd-ud"),
        ({"integrator": pb.INTEGRATOR_OBAB}, "obabo"),
        ({"precondition": pb.PRECONDITION_NONE}, "diagonal"),
        ({"steps": 8}, "7"),
        ({"width": 8}, "5"),
    ],
    ids=str,
)
def test_a_start_of_another_method_or_size_is_refused(values: dict[str, Any], allowed: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        from_config(pb.TrainingConfig(**values), EARLIER)
    (violation,) = caught.value.violations
    ((name, _),) = values.items()
    assert (caught.value.reason, violation.field) == ("INCONSISTENT_SETTINGS", f"config.{name}")
    assert f"trained with {name} {allowed}" in violation.description
