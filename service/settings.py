"""TrainingConfig on the wire <-> TrainingSettings in the code, DrawSettings <-> Draws: total both ways."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from gephyra.protos import sampler_service_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.draws import Draws, Polish
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

from .errors import InvalidArgument, Reason

__all__ = ["from_config", "from_how", "to_config", "to_how"]


class _Words(NamedTuple):
    """The numbers of one enum of the wire and the words they stand for."""

    by_number: Mapping[Any, StrEnum]
    unknown: Reason


def _words(values: Iterable[tuple[str, int]], words: type[StrEnum], unknown: Reason) -> _Words:
    """Word `dbs-ud` of Method is METHOD_DBS_UD on the wire. Raises KeyError for a word that the wire lacks."""
    numbers, prefix = dict(values), words.__name__.upper()
    return _Words({numbers[f"{prefix}_{word.name}"]: word for word in words}, unknown)


_ENUMS: Mapping[str, _Words] = {
    "method": _words(pb.Method.items(), Method, Reason.UNKNOWN_METHOD),
    "loss": _words(pb.Loss.items(), Loss, Reason.UNKNOWN_LOSS),
    "precondition": _words(pb.Precondition.items(), Precondition, Reason.UNKNOWN_PRECONDITION),
    "integrator": _words(pb.Integrator.items(), Integrator, Reason.UNKNOWN_INTEGRATOR),
    "device": _words(pb.Device.items(), Device, Reason.UNKNOWN_DEVICE),
    "precision": _words(pb.Precision.items(), Precision, Reason.UNKNOWN_PRECISION),
}
_POLISH = _words(sampler_service_pb2.Polish.items(), Polish, Reason.UNKNOWN_POLISH)
_PLAIN = ("batch_size", "steps", "width", "learning_rate", "seed", "reward_to_go", "ema")
# Fields of the wire, and what they are called in Learn and Goal.
_LEARN = {
    "learn_diffusion": "diffusion", "learn_prior": "prior", "learn_annealing": "annealing", "learn_time": "time",
    **{rate: rate for rate in ("diffusion_rate", "prior_rate", "annealing_rate", "time_rate")},
}  # fmt: skip
_GOAL = {"goal_ess_fraction": "ess_fraction", "goal_gap": "gap"}
_BUDGETS = ("iterations", "seconds", "target_evaluations")
# A run that goes on from a sampler has these from it.
_INHERITED = ("method", "integrator", "precondition", "steps", "width")
_REASONS = {
    "integrator": Reason.INCONSISTENT_SETTINGS,
    "reward_to_go": Reason.INCONSISTENT_SETTINGS,
    **dict.fromkeys(_BUDGETS, Reason.BUDGET_OUT_OF_RANGE),
}


def from_config(config: pb.TrainingConfig, start: TrainingSettings | None = None) -> TrainingSettings:
    """The settings of a request, defaults filled in.

    Args:
        config: As it came.
        start: How the sampler was trained from which the run goes on, if it does: the method and the size are its.

    Raises:
        InvalidArgument: With the path of the wrong field.
    """
    given = {field.name: value for field, value in config.ListFields()}
    chosen: dict[str, Any] = {name: given[name] for name in _PLAIN if name in given}
    chosen |= {name: _word(known, given[name], f"config.{name}") for name, known in _ENUMS.items() if name in given}
    if start is not None:
        chosen |= _inherited(chosen, start)
    try:
        if budget := {name: given[name] for name in _BUDGETS if name in given}:
            chosen["budget"] = Budget(**budget)
        chosen["learn"] = Learn(**{name: given[field] for field, name in _LEARN.items() if field in given})
        chosen["goal"] = Goal(**{name: given[field] for field, name in _GOAL.items() if field in given})
        return TrainingSettings(**chosen)
    except ValueError as error:
        raise _refused(str(error)) from None


def to_config(settings: TrainingSettings) -> pb.TrainingConfig:
    """The wire form of settings, every field filled in but those that are None."""
    values = {name: getattr(settings, name) for name in _PLAIN}
    values |= {field: getattr(settings.learn, name) for field, name in _LEARN.items()}
    values |= {field: getattr(settings.goal, name) for field, name in _GOAL.items()}
    values |= {name: getattr(settings.budget, name) for name in _BUDGETS}
    values |= {name: _number(known, getattr(settings, name)) for name, known in _ENUMS.items()}
    return pb.TrainingConfig(**{name: value for name, value in values.items() if value is not None})


def from_how(how: sampler_service_pb2.DrawSettings, method: Method) -> Draws:
    """How draws of a sampler of this method are made. Raises InvalidArgument with the path of the wrong field."""
    given: dict[str, Any] = {field.name: value for field, value in how.ListFields()}
    if "polish" in given:
        given["polish"] = _word(_POLISH, given["polish"], "how.polish")
    try:
        draws = Draws(**given)
        draws.check(method)
    except ValueError as error:
        # Its messages begin with the name of the field, too.
        name = str(error).split(maxsplit=1)[0]
        reason = Reason.FIELD_INVALID if name == "polish_steps" else Reason.INCONSISTENT_SETTINGS
        raise InvalidArgument.at(reason, f"how.{name}", str(error)) from None
    return draws


def to_how(draws: Draws) -> sampler_service_pb2.DrawSettings:
    """The wire form, every field filled in."""
    return sampler_service_pb2.DrawSettings(
        resample=draws.resample, smc=draws.smc, polish=_number(_POLISH, draws.polish), polish_steps=draws.polish_steps
    )


def _word(known: _Words, number: int, path: str) -> StrEnum:
    if number not in known.by_number:
        raise InvalidArgument.at(
            known.unknown, path, f"expected {', '.join(known.by_number.values())}; got number {number}"
        )
    return known.by_number[number]


def _number(known: _Words, word: StrEnum | None) -> Any:
    return next((number for number, spelt in known.by_number.items() if spelt is word), None)


def _inherited(chosen: Mapping[str, Any], start: TrainingSettings) -> dict[str, Any]:
    """What comes from the sampler to start from. Raises InvalidArgument if something else was chosen."""
    # The default of an underdamped method, said or not.
    theirs = {name: getattr(start, name) for name in _INHERITED}
    said = {**theirs, "integrator": theirs["integrator"] or (Integrator.OBAB if start.method.underdamped else None)}
    for name, value in said.items():
        if name in chosen and chosen[name] != value:
            raise InvalidArgument.at(
                Reason.INCONSISTENT_SETTINGS,
                f"config.{name}",
                f"start was trained with {name} {value or 'left out'}: leave {name} out, or leave start out; "
                f"got {chosen[name]}",
            )
    return theirs


def _refused(message: str) -> InvalidArgument:
    """The settings' messages begin with the name of the field."""
    name = message.split(maxsplit=1)[0]
    return InvalidArgument.at(_REASONS.get(name, Reason.FIELD_INVALID), f"config.{name}", message)
