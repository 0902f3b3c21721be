"""Errors that a caller is told about, and the one table from them to gRPC status codes.

    ServiceError
    |-- InvalidArgument      the request is wrong whatever the state of the server
    |-- NotFound             no such resource
    |-- AlreadyExists        the name is taken by other content
    |-- FailedPrecondition   right request, wrong moment
    |-- DeadlineExceeded     a time limit of the server was reached
    |-- OutOfRange           a position that is not there any more
    |-- ResourceExhausted    no room on the server's disk, a quota is used up, or too many others are being served
    |-- Unavailable          the server is stopping, a worker died, a database or bucket is away; try again
    `-- Internal             a fault of ours

Every error carries `google.rpc.ErrorInfo`; invalid arguments a `BadRequest` with field paths; missing
resources a `ResourceInfo`. Details travel in trailers of limited size, so they are cut to fit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

__all__ = [
    "DOMAIN", "AlreadyExists", "DeadlineExceeded", "FailedPrecondition", "Failure", "Internal", "InvalidArgument",
    "NotFound", "OutOfRange", "Reason", "ResourceExhausted", "ServiceError", "Unavailable", "Violation", "bad_field",
    "busy", "failure_status", "status_failure", "stopping", "to_status",
]  # fmt: skip

DOMAIN = "gephyra"

# Trailers hold 8 KiB by default in several gRPC stacks; beyond that the caller loses the whole error.
_MAX_DETAIL_BYTES = 6 * 1024
_MAX_VIOLATIONS = 32
_MAX_MESSAGE_CHARS = 2000
_BACK_SECONDS = 5
_BUSY_SECONDS = 1


class Reason(StrEnum):
    """What went wrong, as a constant that programs may test."""

    ARTEFACTS_UNAVAILABLE = "ARTEFACTS_UNAVAILABLE"
    BLOB_MISMATCH = "BLOB_MISMATCH"
    BLOB_NOT_FOUND = "BLOB_NOT_FOUND"
    BLOB_OFFSET_INVALID = "BLOB_OFFSET_INVALID"
    BUDGET_OUT_OF_RANGE = "BUDGET_OUT_OF_RANGE"
    CALL_TIMEOUT = "CALL_TIMEOUT"
    CAPTURE_MISMATCH = "CAPTURE_MISMATCH"
    COLUMN_NAMES_INVALID = "COLUMN_NAMES_INVALID"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    DATASET_NAME_TAKEN = "DATASET_NAME_TAKEN"
    DATASET_NOT_FOUND = "DATASET_NOT_FOUND"
    DATA_DTYPE_UNSUPPORTED = "DATA_DTYPE_UNSUPPORTED"
    DATA_EMPTY = "DATA_EMPTY"
    DATA_FORMAT_REFUSED = "DATA_FORMAT_REFUSED"
    DATA_NOT_A_NUMBER = "DATA_NOT_A_NUMBER"
    DATA_NOT_FINITE = "DATA_NOT_FINITE"
    DATA_ONE_ROW = "DATA_ONE_ROW"
    DATA_RAGGED = "DATA_RAGGED"
    DATA_SHAPE_INVALID = "DATA_SHAPE_INVALID"
    DATA_TOO_LARGE = "DATA_TOO_LARGE"
    DIM_OUT_OF_RANGE = "DIM_OUT_OF_RANGE"
    DRAWS_OUT_OF_RANGE = "DRAWS_OUT_OF_RANGE"
    EVENTS_COMPACTED = "EVENTS_COMPACTED"
    FIELD_INVALID = "FIELD_INVALID"
    INCONSISTENT_SETTINGS = "INCONSISTENT_SETTINGS"
    INTERNAL = "INTERNAL"
    JOB_NEVER_FITS = "JOB_NEVER_FITS"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    JOB_STATE_UNSUITED = "JOB_STATE_UNSUITED"
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    NON_FINITE_LOG_DENSITY = "NON_FINITE_LOG_DENSITY"
    PAGE_TOKEN_INVALID = "PAGE_TOKEN_INVALID"
    PARAMETER_INVALID = "PARAMETER_INVALID"
    PROGRAM_CALL_NOT_ALLOWED = "PROGRAM_CALL_NOT_ALLOWED"
    PROGRAM_FORMAT_REFUSED = "PROGRAM_FORMAT_REFUSED"
    PROGRAM_MALFORMED = "PROGRAM_MALFORMED"
    PROGRAM_OP_NOT_ALLOWED = "PROGRAM_OP_NOT_ALLOWED"
    PROGRAM_TOO_LARGE = "PROGRAM_TOO_LARGE"
    PROGRAM_VERSION_UNSUPPORTED = "PROGRAM_VERSION_UNSUPPORTED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    RESOURCE_IN_USE = "RESOURCE_IN_USE"
    SAMPLER_FILE_INVALID = "SAMPLER_FILE_INVALID"
    SAMPLER_NOT_FOUND = "SAMPLER_NOT_FOUND"
    SAMPLER_UNSUITED = "SAMPLER_UNSUITED"
    SERVER_BUSY = "SERVER_BUSY"
    SERVER_STOPPING = "SERVER_STOPPING"
    STORAGE_FULL = "STORAGE_FULL"
    SUBJECT_CHANGED = "SUBJECT_CHANGED"
    TARGET_NAME_TAKEN = "TARGET_NAME_TAKEN"
    TARGET_NOT_FOUND = "TARGET_NOT_FOUND"
    TARGET_NOT_READY = "TARGET_NOT_READY"
    TARGET_REJECTED = "TARGET_REJECTED"
    UNKNOWN_DEVICE = "UNKNOWN_DEVICE"
    UNKNOWN_FAMILY = "UNKNOWN_FAMILY"
    UNKNOWN_HEAD = "UNKNOWN_HEAD"
    UNKNOWN_INTEGRATOR = "UNKNOWN_INTEGRATOR"
    UNKNOWN_LEVELS = "UNKNOWN_LEVELS"
    UNKNOWN_LOSS = "UNKNOWN_LOSS"
    UNKNOWN_METHOD = "UNKNOWN_METHOD"
    UNKNOWN_POLISH = "UNKNOWN_POLISH"
    UNKNOWN_PRECISION = "UNKNOWN_PRECISION"
    UNKNOWN_PRECONDITION = "UNKNOWN_PRECONDITION"
    UNKNOWN_PREDICTION = "UNKNOWN_PREDICTION"
    UNKNOWN_SCHEDULE = "UNKNOWN_SCHEDULE"
    UNKNOWN_SOLVER = "UNKNOWN_SOLVER"
    UNKNOWN_WEIGHTING = "UNKNOWN_WEIGHTING"
    UNSUITABLE_DATA = "UNSUITABLE_DATA"
    WORKER_DIED = "WORKER_DIED"
    WORKER_KILLED_MEMORY = "WORKER_KILLED_MEMORY"
    WORKER_TIMEOUT = "WORKER_TIMEOUT"


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field of a request."""

    field: str
    """Path from the request, for example `config.seconds`."""
    description: str
    """What was expected and what came."""


@dataclass(eq=False)
class ServiceError(Exception):
    """An error with a reason, a sentence, and what a program needs to act on it."""

    reason: str
    message: str
    violations: Sequence[Violation] = ()
    resource: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_seconds: int = 0
    """When it is worth trying again; 0: that is not known."""
    quota: str = ""
    """Whose quota is used up, for example `tenants/local`; empty where none is."""

    def __str__(self) -> str:
        return f"{self.message} [{self.reason}]"


class InvalidArgument(ServiceError):
    """The request is wrong whatever the state of the server."""

    @classmethod
    def at(cls, reason: str, path: str, description: str) -> "InvalidArgument":
        """The error for one wrong field."""
        return cls(reason, f"{path}: {description}", (Violation(path, description),))


def bad_field(path: str, description: str) -> InvalidArgument:
    """The error for one wrong field that has no reason of its own (FIELD_INVALID)."""
    return InvalidArgument.at(Reason.FIELD_INVALID, path, description)


class NotFound(ServiceError):
    """There is no such resource."""


class AlreadyExists(ServiceError):
    """The name is taken by other content."""


class FailedPrecondition(ServiceError):
    """The request is right but the state of the server does not allow it."""


class DeadlineExceeded(ServiceError):
    """A time limit of the server was reached."""


class OutOfRange(ServiceError):
    """A position that is not there any more."""


class ResourceExhausted(ServiceError):
    """There is no room for what the request needs."""


def busy(what: str, limit: str, most: int) -> ResourceExhausted:
    """The refusal of a call before anything was done for it, because `most` of its kind are being served."""
    return ResourceExhausted(
        Reason.SERVER_BUSY,
        f"the server is busy: {most} {what}, its limit, and nothing was done for this call; try again later",
        metadata={"limit": limit, "most": str(most)}, retry_seconds=_BUSY_SECONDS,
    )  # fmt: skip


class Unavailable(ServiceError):
    """Not now; the same request may succeed later."""


def stopping() -> Unavailable:
    """The refusal of a server that drains, with the time after which one that is started again is back."""
    message = "the server is stopping; try again when it is back"
    return Unavailable(Reason.SERVER_STOPPING, message, retry_seconds=_BACK_SECONDS)


class Internal(ServiceError):
    """A fault of the service."""


_CODES: Mapping[type[ServiceError], int] = {
    InvalidArgument: code_pb2.INVALID_ARGUMENT,
    NotFound: code_pb2.NOT_FOUND,
    AlreadyExists: code_pb2.ALREADY_EXISTS,
    FailedPrecondition: code_pb2.FAILED_PRECONDITION,
    DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
    OutOfRange: code_pb2.OUT_OF_RANGE,
    ResourceExhausted: code_pb2.RESOURCE_EXHAUSTED,
    Unavailable: code_pb2.UNAVAILABLE,
    Internal: code_pb2.INTERNAL,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stored resource failed: the record behind `Target.error` and `TrainingJob.error`."""

    code: int
    """A `google.rpc.Code`."""
    reason: str
    message: str
    field: str = ""
    """Path of the field at fault, if there is one."""


def to_status(error: ServiceError, request_id: str = "") -> status_pb2.Status:
    """The status that travels: code, sentence, details cut to what trailers can hold; the log knows the request id."""
    metadata = {**error.metadata, **({"request_id": request_id} if request_id else {})}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    status = status_pb2.Status(code=_CODES[type(error)], message=_cut(error.message), details=[_packed(info)])
    if error.retry_seconds:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromSeconds(error.retry_seconds)
        status.details.append(_packed(retry))
    if error.quota:
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(subject=error.quota, description=_cut(error.message))
        status.details.append(_packed(quota))
    if error.resource:
        kind = error.resource.split("/")[0]
        resource = error_details_pb2.ResourceInfo(
            resource_type=kind, resource_name=error.resource, description=_cut(error.message)
        )
        status.details.append(_packed(resource))
    if error.violations:
        status.details.append(_packed(_bad_request(error.violations, _MAX_DETAIL_BYTES - status.ByteSize())))
    return status


def failure_status(failure: Failure) -> status_pb2.Status:
    """The wire form of a stored failure."""
    info = error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN)
    status = status_pb2.Status(code=failure.code, message=_cut(failure.message), details=[_packed(info)])
    if failure.field:
        violations = [Violation(failure.field, failure.message)]
        status.details.append(_packed(_bad_request(violations, _MAX_DETAIL_BYTES - status.ByteSize())))
    return status


def status_failure(status: status_pb2.Status) -> Failure:
    """The record of a status as a worker sends it; unknown details are dropped."""
    reason, path = Reason.INTERNAL.value, ""
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad) and bad.field_violations:
            path = bad.field_violations[0].field
    return Failure(status.code, reason, _cut(status.message), path)


def _bad_request(violations: Sequence[Violation], room: int) -> error_details_pb2.BadRequest:
    bad = error_details_pb2.BadRequest()
    for n, violation in enumerate(violations):
        entry = error_details_pb2.BadRequest.FieldViolation(
            field=violation.field[:200], description=violation.description[:500]
        )
        # 80 bytes are kept for the entry that says how many are missing.
        if n == _MAX_VIOLATIONS - 1 < len(violations) - 1 or bad.ByteSize() + entry.ByteSize() + 80 > room:
            bad.field_violations.add(field="", description=f"and {len(violations) - n} more")
            break
        bad.field_violations.append(entry)
    return bad


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE_CHARS else text[: _MAX_MESSAGE_CHARS - 3] + "..."
