"""What a raw client is told when the server refuses a call."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True)
class Refusal:
    """What a caller is told."""

    code: grpc.StatusCode
    reason: str
    message: str
    fields: tuple[str, ...]
    resource: str
    metadata: dict[str, str]
    """Without the request id."""
    request_id: str
    retry_seconds: int = 0
    """When to come back; 0 where that is not told."""


def refused(call: Callable[[], Any]) -> Refusal:
    """The refusal of a call that must fail with all its details."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return refusal_of(caught.value)


def refusal_of(error: Any) -> Refusal:
    """What an error of a stub, which is also the call, tells; all its details must be known."""
    status = rpc_status.from_call(error)
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    resource, retry = error_details_pb2.ResourceInfo(), error_details_pb2.RetryInfo()
    quota = error_details_pb2.QuotaFailure()
    for detail in status.details:
        assert any(detail.Unpack(known) for known in (info, bad, resource, retry, quota))
    assert info.domain == "gephyra"
    fields = tuple(violation.field for violation in bad.field_violations)
    metadata = dict(info.metadata)
    request_id = metadata.pop("request_id")
    assert request_id
    return Refusal(
        error.code(), info.reason, status.message, fields, resource.resource_name, metadata, request_id,
        retry.retry_delay.seconds,
    )  # fmt: skip
