"""A scripted server: each RPC is answered by a function that the test gives. It runs on gRPC's own threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from gephyra.protos import (
    blob_service_pb2,
    dataset_service_pb2,
    meta_service_pb2,
    sampler_service_pb2,
    target_service_pb2,
    training_service_pb2,
)

Answer = Callable[[Any, grpc.ServicerContext], Any]

_FILES = (
    blob_service_pb2, dataset_service_pb2, meta_service_pb2, sampler_service_pb2, target_service_pb2,
    training_service_pb2,
)  # fmt: skip
_METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in _FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


class FakeServer(grpc.GenericRpcHandler):
    """Answers every RPC from `script`, a function by method name; remembers the requests in `calls`.

    Listens at a Unix socket, or at `host:port`.
    """

    def __init__(self, socket: Path | str, options: Sequence[tuple[str, int]] = ()) -> None:
        self.socket = Path(socket)
        self.address = socket if isinstance(socket, str) else f"unix:{socket}"
        self._options = options
        self.script: dict[str, Answer] = {}
        self.calls: list[tuple[str, Any]] = []
        self._server: grpc.Server | None = None

    def start(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[self], options=self._options)
        assert self._server.add_insecure_port(self.address)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    def count(self, name: str) -> int:
        return sum(called == name for called, _ in self.calls)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = _METHODS.get(handler_call_details.method)
        if method is None:  # Health, of which it says nothing.
            return None

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            if method.client_streaming:
                request = list(request)
            self.calls.append((method.name, request))
            return self.script[method.name](request, context)

        def answers(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            yield from answer(request, context)

        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        return make(
            answers if method.server_streaming else answer,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )


def status(
    code: grpc.StatusCode,
    message: str,
    reason: str = "",
    fields: tuple[tuple[str, str], ...] = (),
    **metadata: str,
) -> status_pb2.Status:
    """A status with the details that our server sends."""
    details: list[Any] = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="gephyra", metadata=metadata))
    if fields:
        violation = error_details_pb2.BadRequest.FieldViolation
        violations = [violation(field=field, description=description) for field, description in fields]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    packed = [any_pb2.Any() for _ in details]
    for box, detail in zip(packed, details, strict=True):
        box.Pack(detail)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def refuse(context: grpc.ServicerContext, *arguments: Any, **metadata: Any) -> NoReturn:
    """End the call with `status(...)`."""
    context.abort_with_status(rpc_status.to_status(status(*arguments, **metadata)))
    raise AssertionError("abort_with_status does not return")


def gone(context: grpc.ServicerContext) -> NoReturn:
    """End the call as a broken transport does: UNAVAILABLE, without details."""
    context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
    raise AssertionError("abort does not return")
