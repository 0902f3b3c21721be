"""The words a user writes and the enums and messages they stand for on the wire."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from gephyra.protos import target_service_pb2, training_service_pb2

from .errors import InvalidArgument, Violation
from .request import fill

__all__ = ["DEFAULT_SECONDS", "LOSSES", "METHODS", "PRECONDITIONS", "JobState", "TargetState", "training_config"]

DEFAULT_SECONDS = 60.0
"""Wall seconds of training where the user gives no budget."""

METHODS: Mapping[str, int] = {
    "dbs": training_service_pb2.METHOD_DBS,
    "cmcd": training_service_pb2.METHOD_CMCD,
}
LOSSES: Mapping[str, int] = {
    "rkl-ld": training_service_pb2.LOSS_RKL_LD,
    "rkl-r": training_service_pb2.LOSS_RKL_R,
    "lv": training_service_pb2.LOSS_LV,
}
PRECONDITIONS: Mapping[str, int] = {
    "none": training_service_pb2.PRECONDITION_NONE,
    "diagonal": training_service_pb2.PRECONDITION_DIAGONAL,
    "gaussian": training_service_pb2.PRECONDITION_GAUSSIAN,
}


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


def training_config(
    *,
    method: str,
    loss: str,
    precondition: str,
    seconds: float | None,
    iterations: int | None,
    **settings: Any,
) -> training_service_pb2.TrainingConfig:
    """The wire form of the options of `client.train`; a setting that is None is left to the server.

    Raises InvalidArgument, naming the field, for an unknown word, two budgets, or a value of the wrong kind.
    The server checks domains.
    """
    if seconds is not None and iterations is not None:
        raise _invalid("config.iterations", "give seconds or iterations, not both", "BUDGET_OUT_OF_RANGE")
    values = {
        "method": _number(METHODS, "method", method),
        "loss": _number(LOSSES, "loss", loss),
        "precondition": _number(PRECONDITIONS, "precondition", precondition),
        "seconds": DEFAULT_SECONDS if seconds is None and iterations is None else seconds,
        "iterations": iterations,
        **settings,
    }
    given = {name: value for name, value in values.items() if value is not None}
    return fill(training_service_pb2.TrainingConfig(), "config.", **given)


def _number(words: Mapping[str, int], option: str, word: str) -> int:
    """The enum value of a word."""
    if word not in words:
        expected = f"{option} must be one of {', '.join(words)}; got {word!r}"
        raise _invalid(f"config.{option}", expected, f"UNKNOWN_{option.upper()}")
    return words[word]


def _invalid(field: str, sentence: str, reason: str) -> InvalidArgument:
    return InvalidArgument(sentence, reason=reason, violations=[Violation(field, sentence)])
