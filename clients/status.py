"""From statuses on the wire to exceptions: the only module that reads gRPC's errors.

A server of ours sends `google.rpc.Status` in the trailer `grpc-status-details-bin`; it is read with
googleapis-common-protos alone, because the light install has no grpcio-status.
"""

from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from .errors import GephyraError, ServerGone, Violation, error_class

__all__ = ["error_from_call", "error_from_status"]

_DETAILS = "grpc-status-details-bin"
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]

Detail = TypeVar("Detail", bound=Message)


def error_from_status(status: status_pb2.Status, kind: type[GephyraError] | None = None) -> GephyraError:
    """The exception that a status stands for; `kind` overrides the class that its code asks for."""
    info = _detail(status, error_details_pb2.ErrorInfo())
    request = _detail(status, error_details_pb2.BadRequest())
    retry = _detail(status, error_details_pb2.RetryInfo())
    metadata = dict(info.metadata)
    return (kind or error_class(status.code, info.reason))(
        status.message or "the server gave no message",
        reason=info.reason,
        request_id=metadata.pop("request_id", ""),
        metadata=metadata,
        violations=[Violation(entry.field, entry.description) for entry in request.field_violations],
        retry_seconds=retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9,
    )


def error_from_call(error: aio.AioRpcError, address: str) -> GephyraError:
    """The exception for a failed call to the server at `address`.

    A server of ours explains every UNAVAILABLE; without an explanation it came from the transport: nobody answers.
    """
    code = int(error.code().value[0])
    status = _status(error)
    if status is None and code == _UNAVAILABLE:
        return ServerGone(
            f"nobody answers at {address} ({error.details()}); start a server with `gephyra serve`, "
            "or use Client.local(folder) for one of your own"
        )
    if status is None:
        status = status_pb2.Status(code=code, message=error.details() or f"the server answered {error.code().name}")
    return error_from_status(status)


def _status(error: aio.AioRpcError) -> status_pb2.Status | None:
    """The details that the server sent along, if they are there and whole."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            status = status_pb2.Status()
            try:
                status.ParseFromString(value)
            except DecodeError:
                return None
            return status if status.code == error.code().value[0] else None
    return None


def _detail(status: status_pb2.Status, detail: Detail) -> Detail:
    """The first detail of this type, or an empty one."""
    for packed in status.details:
        if packed.Is(detail.DESCRIPTOR):
            try:
                packed.Unpack(detail)
            except DecodeError:
                detail.Clear()
            break
    return detail
