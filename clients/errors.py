"""What can go wrong, as exceptions. No exception of gRPC ever reaches a caller.

    GephyraError                        .reason .metadata .violations .field .retryable
    ├── InvalidArgument (ValueError)    a value outside its domain; .field and .violations name it
    │   └── OutOfRange                  a position that does not exist (any more)
    ├── CaptureError (ValueError)       a model that cannot be captured, found before anything is sent
    ├── NotFound (LookupError)          no such target, job, sampler, data set, blob
    ├── AlreadyExists                   the name is taken by other content
    ├── FailedPrecondition              right request, wrong moment or place
    │   ├── TargetRejected              the server examined the target and refused it
    │   ├── FolderLocked                another server owns the data folder
    │   ├── ServerNotInstalled          the embedded server needs the `server` extra
    │   ├── Unimplemented               the server does not know this call: it is older than the client
    │   └── PermissionDenied            the server knows who asks and says no
    ├── ResourceExhausted               a limit of the server
    │   ├── MessageTooLarge             a message over the limit, refused before it is sent
    │   └── ServerBusy                  too many calls at once; nothing was done for this one
    ├── Unavailable (ConnectionError)   the server answers, but not now: try again
    │   └── ServerGone                  nobody answers at the address, or the embedded server has ended
    ├── DeadlineExceeded (TimeoutError) no answer in time
    ├── Cancelled                       the call was cancelled
    ├── Internal                        a fault of the server
    │   └── DataLoss                    what arrived is not what was sent
    ├── JobFailed                       a training job ended in state FAILED; .reason says why
    └── JobCancelled                    a training job ended in state CANCELLED

`reason` is a stable word in capitals, such as TARGET_NAME_TAKEN; the message is a sentence for people.
Importing this module loads nothing but the standard library.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "AlreadyExists", "Cancelled", "CaptureError", "DataLoss", "DeadlineExceeded", "FailedPrecondition", "FolderLocked",
    "GephyraError", "Internal", "InvalidArgument", "JobCancelled", "JobFailed", "MessageTooLarge", "NotFound",
    "OutOfRange", "PermissionDenied", "ResourceExhausted", "ServerBusy", "ServerGone", "ServerNotInstalled",
    "TargetRejected", "Unavailable", "Unimplemented", "Violation", "error_class",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Violation:
    """One field of a request that is outside its domain."""

    field: str
    """Path in the request, for example `config.seconds`."""
    description: str
    """What was expected and what came."""


class GephyraError(Exception):
    """Base of all errors of this package.

    Attributes:
        reason: Stable word for programs, for example `TARGET_NAME_TAKEN`; empty if the server gave none.
        metadata: What varies in the message, by name.
        request_id: Of the call, in the log of the server; empty where none was asked.
        violations: The fields that are outside their domain; empty unless the request was.
        retryable: True where the same call may succeed later, unchanged.
        retry_seconds: When the server says that it is worth trying again; 0 where it does not.
    """

    default_reason: ClassVar[str] = ""
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        request_id: str = "",
        retry_seconds: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.request_id = request_id
        self.retry_seconds = retry_seconds

    @property
    def field(self) -> str:
        """Path of the first field that is outside its domain, or an empty string."""
        return self.violations[0].field if self.violations else ""

    def __str__(self) -> str:
        return f"{self.message} [{self.reason}]" if self.reason else self.message


class InvalidArgument(GephyraError, ValueError):
    """A value outside its domain; `field` and `violations` name it."""

    default_reason = "FIELD_INVALID"


class OutOfRange(InvalidArgument):
    """A position that does not exist (any more), for example events that were compacted."""


class CaptureError(GephyraError, ValueError):
    """A model that cannot be captured; the message names the site and says what to do."""

    default_reason = "CAPTURE_REFUSED"


class NotFound(GephyraError, LookupError):
    """No target, job, sampler, data set or blob of that name."""


class AlreadyExists(GephyraError):
    """The name is taken by other content."""


class FailedPrecondition(GephyraError):
    """The request is right, but the server is not in a state for it."""


class TargetRejected(FailedPrecondition):
    """The server examined the target and refused it; `reason` says why."""

    default_reason = "TARGET_REJECTED"


class FolderLocked(FailedPrecondition):
    """Another server owns the data folder."""

    default_reason = "FOLDER_LOCKED"


class ServerNotInstalled(FailedPrecondition):
    """The embedded server needs packages that are not installed."""

    default_reason = "SERVER_NOT_INSTALLED"


class Unimplemented(FailedPrecondition):
    """The server does not know this call."""


class PermissionDenied(FailedPrecondition):
    """The server refuses the caller."""


class ResourceExhausted(GephyraError):
    """A limit of the server was met."""


class MessageTooLarge(ResourceExhausted):
    """A message over the size limit, refused before it is sent."""

    default_reason = "MESSAGE_TOO_LARGE"


class ServerBusy(ResourceExhausted):
    """The server serves as many calls of this kind as it can. It did nothing for this one, so it may be sent again.

    The client does so by itself, as late as the server asks and as long as its patience lasts; then this is raised.
    """

    default_reason = "SERVER_BUSY"
    retryable = True


class Unavailable(GephyraError, ConnectionError):
    """The server answers, but not now."""

    retryable = True


class ServerGone(Unavailable):
    """Nobody answers at the address, or the embedded server has ended."""

    default_reason = "SERVER_GONE"


class DeadlineExceeded(GephyraError, TimeoutError):
    """No answer in time."""

    default_reason = "DEADLINE_EXCEEDED"
    retryable = True


class Cancelled(GephyraError):
    """The call was cancelled."""


class Internal(GephyraError):
    """A fault of the server."""


class DataLoss(Internal):
    """What arrived is not what was sent."""

    default_reason = "DATA_LOSS"


class JobFailed(GephyraError):
    """A training job ended in state FAILED."""


class JobCancelled(GephyraError):
    """A training job ended in state CANCELLED."""

    default_reason = "JOB_CANCELLED"


# By number of the status code (google.rpc.Code, which gRPC's own codes equal), in its order.
_BY_CODE: Mapping[int, type[GephyraError]] = {
    1: Cancelled,
    2: Internal,  # UNKNOWN
    3: InvalidArgument,
    4: DeadlineExceeded,
    5: NotFound,
    6: AlreadyExists,
    7: PermissionDenied,
    8: ResourceExhausted,
    9: FailedPrecondition,
    10: FailedPrecondition,  # ABORTED
    11: OutOfRange,
    12: Unimplemented,
    13: Internal,
    14: Unavailable,
    15: DataLoss,
    16: PermissionDenied,  # UNAUTHENTICATED
}


def error_class(code: int, reason: str = "") -> type[GephyraError]:
    """The exception for a status code other than OK; `Internal` for a number that no code has."""
    found = _BY_CODE.get(code, Internal)
    return ServerBusy if found is ResourceExhausted and reason == ServerBusy.default_reason else found
