"""A worker's answer of failure, raised for the caller of an RPC."""

from collections.abc import Mapping

from google.rpc import code_pb2

from gephyra.protos import worker_pb2

from .errors import FailedPrecondition, Internal, InvalidArgument, ServiceError, Unavailable, Violation, status_failure

__all__ = ["raise_failed"]

_ERRORS: Mapping[int, type[ServiceError]] = {
    code_pb2.INVALID_ARGUMENT: InvalidArgument,
    code_pb2.FAILED_PRECONDITION: FailedPrecondition,
    code_pb2.RESOURCE_EXHAUSTED: Unavailable,
}


def raise_failed(event: worker_pb2.WorkerEvent) -> None:
    """Raise the ServiceError of a `failed` event; nothing for any other."""
    if event.WhichOneof("event") == "failed":
        failure = status_failure(event.failed)
        violations = (Violation(failure.field, failure.message),) if failure.field else ()
        raise _ERRORS.get(failure.code, Internal)(failure.reason, failure.message, violations)
