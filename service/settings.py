"""TrainingConfig on the wire <-> TrainingSettings in the code, DrawSettings <-> Draws: total both ways."""

from collections.abc import Mapping
from typing import Any

from gephyra.protos import sampler_service_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.draws import Draws, Polish
from gephyra.samplers.settings import (
    Budget,
    Device,
    Goal,
    Inconsistent,
    Integrator,
    Learn,
    Loss,
    Method,
    Precision,
    Precondition,
    TrainingSettings,
)

from .errors import InvalidArgument, Reason
from .words import Words, field_refused, number_of, word_of, words_of

__all__ = ["from_config", "from_how", "to_config", "to_how"]


_ENUMS: Mapping[str, Words] = {
    "method": words_of(pb.Method.items(), "METHOD", Method, Reason.UNKNOWN_METHOD),
    "loss": words_of(pb.Loss.items(), "LOSS", Loss, Reason.UNKNOWN_LOSS),
    "precondition": words_of(pb.Precondition.items(), "PRECONDITION", Precondition, Reason.UNKNOWN_PRECONDITION),
    "integrator": words_of(pb.Integrator.items(), "INTEGRATOR", Integrator, Reason.UNKNOWN_INTEGRATOR),
    "device": words_of(pb.Device.items(), "DEVICE", Device, Reason.UNKNOWN_DEVICE),
    "precision": words_of(pb.Precision.items(), "PRECISION", Precision, Reason.UNKNOWN_PRECISION),
}
_POLISH = words_of(sampler_service_pb2.Polish.items(), "POLISH", Polish, Reason.UNKNOWN_POLISH)
_PLAIN = ("batch_size", "steps", "width", "learning_rate", "seed", "reward_to_go", "ema", "workers")
# Fields of the wire, and what they are called in Learn and Goal.
_LEARN = {
    "learn_diffusion": "diffusion", "learn_prior": "prior", "learn_annealing": "annealing", "learn_time": "time",
    **{rate: rate for rate in ("diffusion_rate", "prior_rate", "annealing_rate", "time_rate")},
}  # fmt: skip
_GOAL = {"goal_ess_fraction": "ess_fraction", "goal_gap": "gap"}
_BUDGETS = ("iterations", "seconds", "target_evaluations")
# A run that goes on from a sampler has these from it.
_INHERITED = ("method", "integrator", "precondition", "steps", "width")
_REASONS = dict.fromkeys(_BUDGETS, Reason.BUDGET_OUT_OF_RANGE)


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
    chosen |= {name: word_of(known, given[name], f"config.{name}") for name, known in _ENUMS.items() if name in given}
    if start is not None:
        chosen |= _inherited(chosen, start)
    try:
        if budget := {name: given[name] for name in _BUDGETS if name in given}:
            chosen["budget"] = Budget(**budget)
        chosen["learn"] = Learn(**{name: given[field] for field, name in _LEARN.items() if field in given})
        chosen["goal"] = Goal(**{name: given[field] for field, name in _GOAL.items() if field in given})
        return TrainingSettings(**chosen)
    except Inconsistent as error:
        raise field_refused(error, "config", {}, Reason.INCONSISTENT_SETTINGS) from None
    except ValueError as error:
        raise field_refused(error, "config", _REASONS) from None


def to_config(settings: TrainingSettings) -> pb.TrainingConfig:
    """The wire form of settings, every field filled in but those that are None."""
    values = {name: getattr(settings, name) for name in _PLAIN}
    values |= {field: getattr(settings.learn, name) for field, name in _LEARN.items()}
    values |= {field: getattr(settings.goal, name) for field, name in _GOAL.items()}
    values |= {name: getattr(settings.budget, name) for name in _BUDGETS}
    values |= {name: number_of(known, getattr(settings, name)) for name, known in _ENUMS.items()}
    return pb.TrainingConfig(**{name: value for name, value in values.items() if value is not None})


def from_how(how: sampler_service_pb2.DrawSettings, method: Method) -> Draws:
    """How draws of a sampler of this method are made. Raises InvalidArgument with the path of the wrong field."""
    given: dict[str, Any] = {field.name: value for field, value in how.ListFields()}
    if "polish" in given:
        given["polish"] = word_of(_POLISH, given["polish"], "how.polish")
    try:
        draws = Draws(**given)
        draws.check(method)
    except ValueError as error:
        reasons = {"polish_steps": Reason.FIELD_INVALID}
        raise field_refused(error, "how", reasons, Reason.INCONSISTENT_SETTINGS) from None
    return draws


def to_how(draws: Draws) -> sampler_service_pb2.DrawSettings:
    """The wire form, every field filled in."""
    return sampler_service_pb2.DrawSettings(
        resample=draws.resample, smc=draws.smc, polish=number_of(_POLISH, draws.polish), polish_steps=draws.polish_steps
    )


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
