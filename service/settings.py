"""TrainingConfig on the wire <-> TrainingSettings in the code, total both ways."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.settings import Budget, Learn, Loss, Method, Precondition, TrainingSettings

from .errors import InvalidArgument, Reason, bad_field

__all__ = ["from_config", "to_config"]

Word = TypeVar("Word", bound=StrEnum)

_METHODS = {pb.METHOD_DBS: Method.DBS, pb.METHOD_CMCD: Method.CMCD}
_LOSSES = {pb.LOSS_RKL_LD: Loss.RKL_LD, pb.LOSS_RKL_R: Loss.RKL_R, pb.LOSS_LV: Loss.LV}
_PRECONDITIONS = {
    pb.PRECONDITION_NONE: Precondition.NONE,
    pb.PRECONDITION_DIAGONAL: Precondition.DIAGONAL,
    pb.PRECONDITION_GAUSSIAN: Precondition.GAUSSIAN,
}
_NUMBERS = ("batch_size", "steps", "width", "learning_rate", "seed")
_LEARNED = ("diffusion", "prior", "annealing")


def from_config(config: pb.TrainingConfig) -> TrainingSettings:
    """The settings of a request, defaults filled in. Raises InvalidArgument with the path of the wrong field."""
    defaults = TrainingSettings()
    given = {field.name: value for field, value in config.ListFields()}
    chosen: dict[str, Any] = {name: given[name] for name in _NUMBERS if name in given}
    learned = {name: given[f"learn_{name}"] for name in _LEARNED if f"learn_{name}" in given}
    method = _word(_METHODS, config.method, defaults.method, "config.method", Reason.UNKNOWN_METHOD)
    loss = _word(_LOSSES, config.loss, defaults.loss, "config.loss", Reason.UNKNOWN_LOSS)
    precondition = _word(
        _PRECONDITIONS, config.precondition, defaults.precondition, "config.precondition", Reason.UNKNOWN_PRECONDITION
    )
    budget = _budget(config) or defaults.budget
    try:
        return TrainingSettings(
            method=method, loss=loss, precondition=precondition, budget=budget, learn=Learn(**learned), **chosen
        )
    except ValueError as error:
        # The settings' messages begin with the name of the field.
        name = str(error).split(maxsplit=1)[0]
        path = f"config.{name}" if name in _NUMBERS else "config"
        raise bad_field(path, str(error)) from None


def to_config(settings: TrainingSettings) -> pb.TrainingConfig:
    """The wire form of settings, every field filled in."""
    config = pb.TrainingConfig(
        method=_number(_METHODS, settings.method),
        loss=_number(_LOSSES, settings.loss),
        precondition=_number(_PRECONDITIONS, settings.precondition),
        **{name: getattr(settings, name) for name in _NUMBERS},
        **{f"learn_{name}": getattr(settings.learn, name) for name in _LEARNED},
    )
    if settings.budget.iterations is not None:
        config.iterations = settings.budget.iterations
    if settings.budget.seconds is not None:
        config.seconds = settings.budget.seconds
    return config


def _word(words: Mapping[Any, Word], number: int, default: Word, path: str, reason: Reason) -> Word:
    if number == 0:
        return default
    if number not in words:
        raise InvalidArgument.at(reason, path, f"expected {', '.join(words.values())}; got number {number}")
    return words[number]


def _number(words: Mapping[Any, Word], word: Word) -> Any:
    return next(number for number, known in words.items() if known is word)


def _budget(config: pb.TrainingConfig) -> Budget | None:
    kind = config.WhichOneof("budget")
    if kind is None:
        return None
    try:
        return Budget(iterations=config.iterations) if kind == "iterations" else Budget(seconds=config.seconds)
    except ValueError as error:
        raise InvalidArgument.at(Reason.BUDGET_OUT_OF_RANGE, f"config.{kind}", str(error)) from None
