"""The words a user writes and the enums and messages they stand for on the wire."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.message import Message

from gephyra.protos import sampler_service_pb2, target_service_pb2, training_service_pb2

from .errors import InvalidArgument, Violation
from .request import fill

__all__ = [
    "DEVICES", "INTEGRATORS", "LOSSES", "METHODS", "POLISHES", "PRECISIONS", "PRECONDITIONS", "PRESETS", "JobState",
    "TargetState", "chosen", "draw_settings", "resolved", "spelt", "train_options", "training_config", "words_of",
]  # fmt: skip

W = TypeVar("W")


def words_of(values: Iterable[tuple[str, int]], prefix: str) -> Mapping[str, int]:
    """The word of each value of an enum: METHOD_DBS_UD is written `dbs-ud`."""
    return {name.removeprefix(prefix).lower().replace("_", "-"): number for name, number in values if number}


METHODS = words_of(training_service_pb2.Method.items(), "METHOD_")
LOSSES = words_of(training_service_pb2.Loss.items(), "LOSS_")
PRECONDITIONS = words_of(training_service_pb2.Precondition.items(), "PRECONDITION_")
INTEGRATORS = words_of(training_service_pb2.Integrator.items(), "INTEGRATOR_")
DEVICES = words_of(training_service_pb2.Device.items(), "DEVICE_")
PRECISIONS = words_of(training_service_pb2.Precision.items(), "PRECISION_")
PRESETS: Mapping[str, float] = {"quick": 15.0, "standard": 60.0, "thorough": 300.0}
"""Wall seconds of training; `standard` where the user gives no budget."""

POLISHES = words_of(sampler_service_pb2.Polish.items(), "POLISH_")

_OPTIONS = {
    "method": METHODS,
    "loss": LOSSES,
    "precondition": PRECONDITIONS,
    "integrator": INTEGRATORS,
    "device": DEVICES,
    "precision": PRECISIONS,
}
_BUDGETS = ("preset", "seconds", "iterations", "target_evaluations")


class JobState(StrEnum):
    """State of a training job; the last three of them are final."""

    UNSPECIFIED = "UNSPECIFIED"
    QUEUED = "QUEUED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @classmethod
    def of(cls, number: int) -> "JobState":
        """The state of a wire number; UNSPECIFIED for one that this client does not know."""
        known = training_service_pb2.JobState
        name = known.Name(known.ValueType(number)) if number in known.values() else ""
        return cls(name.removeprefix("JOB_STATE_") or cls.UNSPECIFIED)

    @property
    def final(self) -> bool:
        """True if the job will never leave this state."""
        return self in {JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}

    @property
    def told(self) -> str:
        """The state for people: one that nobody leaves by waiting says what to do."""
        return "paused, until it is resumed" if self is JobState.PAUSED else self.value.lower()


class TargetState(StrEnum):
    """State of a target: it is checked once, then READY or REJECTED for good."""

    UNSPECIFIED = "UNSPECIFIED"
    CHECKING = "CHECKING"
    READY = "READY"
    REJECTED = "REJECTED"

    @classmethod
    def of(cls, number: int) -> "TargetState":
        """The state of a wire number; UNSPECIFIED for one that this client does not know."""
        known = target_service_pb2.Target.State
        name = known.Name(known.ValueType(number)) if number in known.values() else ""
        return cls(name.removeprefix("STATE_") or cls.UNSPECIFIED)


def training_config(**options: Any) -> training_service_pb2.TrainingConfig:
    """The wire form of the options of `client.train`; one that is None is left to the server.

    Raises InvalidArgument, naming the field, for an unknown word, two budgets, or a value of the wrong kind.
    The server checks domains, and what goes with what.
    """
    given = resolved(options, _OPTIONS, _BUDGETS, "config")
    if not any(name in given for name in _BUDGETS):
        given["seconds"] = PRESETS["standard"]
    return fill(training_service_pb2.TrainingConfig(), "config.", **given)


def draw_settings(
    resample: bool, smc: bool, polish: str | None, polish_steps: int | None
) -> sampler_service_pb2.DrawSettings:
    """The wire form of how `sampler.draw` makes draws. Raises InvalidArgument, naming the field."""
    number = None if polish is None else chosen(POLISHES, "polish", polish, "how.polish")
    given = {"resample": resample or None, "smc": smc or None, "polish": number, "polish_steps": polish_steps}
    values = {name: value for name, value in given.items() if value is not None}
    return fill(sampler_service_pb2.DrawSettings(), "how.", **values)


def train_options(config: training_service_pb2.TrainingConfig) -> dict[str, Any]:
    """The options of `client.train` for which a config stands; inverse of `training_config`."""
    return spelt(config, _OPTIONS)


def spelt(config: Message, words: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """The fields of a config that are there, in the words of each option."""
    options: dict[str, Any] = {field.name: value for field, value in config.ListFields()}
    for name, known in words.items():
        if name in options:
            # A later server may know more words than we do.
            options[name] = next((word for word, number in known.items() if number == options[name]), "unknown")
    return options


def resolved(
    options: Mapping[str, Any], words: Mapping[str, Mapping[str, int]], budgets: Sequence[str], path: str
) -> dict[str, Any]:
    """What goes into the config at `path`: options that are not None, words as numbers, a preset as its seconds.

    Raises InvalidArgument, naming the field, for an unknown word or more than one of the budgets.
    """
    given = {name: value for name, value in options.items() if value is not None}
    said = {name: known for name, known in words.items() if name in given}
    given |= {name: chosen(known, name, given[name], f"{path}.{name}") for name, known in said.items()}
    _check_budget([name for name in budgets if name in given], budgets, path)
    if "preset" in given:
        given["seconds"] = chosen(PRESETS, "preset", given.pop("preset"), "preset")
    return given


def chosen(words: Mapping[str, W], option: str, word: object, field: str) -> W:
    """What a word of an option stands for. Raises InvalidArgument (UNKNOWN_...) at `field` for another word."""
    if not isinstance(word, str) or word not in words:
        expected = f"{option} must be one of {', '.join(words)}; got {word!r}"
        raise _invalid(field, expected, f"UNKNOWN_{option.upper()}")
    return words[word]


def _check_budget(given: Sequence[str], known: Sequence[str], path: str) -> None:
    """Raises InvalidArgument for more than one budget of those known in the message at `path`."""
    if len(given) > 1:
        # A preset is a word of ours, not a field of the wire.
        field = "preset" if "preset" in given else f"{path}.{given[-1]}"
        raise _invalid(field, f"give one of {', '.join(known)}, got {' and '.join(given)}", "BUDGET_OUT_OF_RANGE")


def _invalid(field: str, sentence: str, reason: str) -> InvalidArgument:
    return InvalidArgument(sentence, reason=reason, violations=[Violation(field, sentence)])
