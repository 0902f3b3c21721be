"""Around every call: its request id, counters, span and line in the log; and its exceptions become statuses.

A fault of ours shows no traceback to callers: they get the request id, under which the log has the rest.
"""

import inspect
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import grpc
from grpc_status import rpc_status
from structlog.contextvars import bind_contextvars

from .admission import Admission
from .errors import Internal, Reason, ResourceExhausted, ServiceError, to_status
from .full import MESSAGE, is_full
from .metrics import Metrics
from .tracing import CURRENT, NoSpan, Role, Span, Tracing

__all__ = ["CallInterceptor"]

logger = logging.getLogger(__name__)

_Around: TypeAlias = Callable[[Any], AbstractAsyncContextManager[None]]

_OURS = "/gephyra.v1."
_UNKNOWN = "unknown"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FAULTS = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS})
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class CallInterceptor(grpc.aio.ServerInterceptor):
    """The one interceptor of the server.

    Maps ServiceError by the table in `errors.py`, and anything else that a method of ours raises to INTERNAL. Health
    and reflection have statuses of their own.
    """

    def __init__(self, metrics: Metrics, tracing: Tracing, admission: Admission) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._admission = admission

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler of a method."""
        handler, method = await continuation(handler_call_details), handler_call_details.method
        if handler is None:
            # Its name is not ours, so it makes no label.
            self._metrics.calls_started.labels(_UNKNOWN).inc()
            self._metrics.calls_handled.labels(_UNKNOWN, grpc.StatusCode.UNIMPLEMENTED.name).inc()
            return None
        call = _Call(self._metrics, self._tracing, self._admission, method, handler_call_details.invocation_metadata)
        serialisation = (handler.request_deserializer, _serialiser(handler.response_serializer))
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(_around(handler.unary_unary, call.around), *serialisation)
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(_around(handler.stream_unary, call.around), *serialisation)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(_around(handler.unary_stream, call.around), *serialisation)
        return grpc.stream_stream_rpc_method_handler(_around(handler.stream_stream, call.around), *serialisation)


class _Call:
    """One call, from its metadata to its end."""

    def __init__(
        self, metrics: Metrics, tracing: Tracing, admission: Admission, method: str,
        metadata: Sequence[tuple[str, Any]] | None,
    ) -> None:  # fmt: skip
        self._metrics, self._tracing, self._admission = metrics, tracing, admission
        self._ours, self._method = method.startswith(_OURS), method.removeprefix("/")
        told = dict(metadata or ())
        wish = str(told.get("x-request-id", ""))
        self._request_id = wish if _REQUEST_ID.fullmatch(wish) else uuid.uuid4().hex
        self._parent = str(told.get("traceparent", ""))
        self._reason, self._started = "", 0.0
        self._span: Span = NoSpan()

    @asynccontextmanager
    async def around(self, context: Any) -> AsyncIterator[None]:
        """Watch the handler at work. Every call has a task of its own, and so its own context variables."""
        self._begin()
        try:
            async with self._admission.enter(self._method):
                yield
        except grpc.aio.AbortError:
            self._end(_code(context.code()))
            raise
        except Exception as error:
            if not self._ours:
                self._end(grpc.StatusCode.UNKNOWN)
                raise
            status = self._status(error)
            # Before the caller hears of it, so that whoever asks next finds it counted.
            self._end(_code(status.code))
            await context.abort_with_status(status)
        except BaseException:
            # The task was cancelled, or its generator closed: nobody waits any more.
            late = context.time_remaining() == 0
            self._end(grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED)
            raise
        else:
            self._end(_code(context.code()))

    def _begin(self) -> None:
        service, _, name = self._method.partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        self._span = self._tracing.begin(self._method, Role.SERVER, self._parent, attributes)
        CURRENT.set(self._span.traceparent)
        trace = {"trace_id": self._span.trace_id} if self._span.trace_id else {}
        bind_contextvars(request_id=self._request_id, **trace)
        self._metrics.calls_started.labels(self._method).inc()
        self._metrics.calls_in_flight.labels(self._method).inc()
        self._started = time.perf_counter()

    def _end(self, code: grpc.StatusCode) -> None:
        seconds = time.perf_counter() - self._started
        self._metrics.calls_in_flight.labels(self._method).dec()
        self._metrics.calls_handled.labels(self._method, code.name).inc()
        self._metrics.call_seconds.labels(self._method).observe(seconds)
        self._span.end("" if code is grpc.StatusCode.OK else code.name)
        # Health checks come every few seconds, for ever.
        level = logging.ERROR if code in _FAULTS else logging.INFO if self._ours else logging.DEBUG
        told = {"method": self._method, "code": code.name, "seconds": round(seconds, 6)}
        logger.log(level, "call", extra=told | ({"reason": self._reason} if self._reason else {}))

    def _status(self, error: Exception) -> Any:
        if not isinstance(error, ServiceError):
            error = _explained(error, self._request_id)
        self._reason = error.reason
        return rpc_status.to_status(to_status(error, self._request_id))


def _around(behaviour: Callable[[Any, Any], Any], around: _Around) -> Callable[[Any, Any], Any]:
    """A handler with the same manner of answering."""
    if inspect.isasyncgenfunction(behaviour):

        async def many(request: Any, context: Any) -> AsyncIterator[Any]:
            async with around(context):
                async for response in behaviour(request, context):
                    yield response

        return many

    async def one(request: Any, context: Any) -> Any:
        async with around(context):
            return await behaviour(request, context)

    return one


def _serialiser(serialise: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """That of a method, which lets bytes pass: answers that were serialised before."""
    return lambda answer: answer if isinstance(answer, bytes) else serialise(answer)


def _code(value: Any) -> grpc.StatusCode:
    """The code of a context, which has a number or nothing where none was set."""
    return value if isinstance(value, grpc.StatusCode) else _CODES.get(value or 0, grpc.StatusCode.UNKNOWN)


def _explained(error: Exception, request_id: str) -> ServiceError:
    if is_full(error):
        logger.error("no room", exc_info=error)
        return ResourceExhausted(Reason.STORAGE_FULL, MESSAGE)
    logger.error("unexpected error in a handler", exc_info=error)
    return Internal(
        Reason.INTERNAL, f"the server failed with {type(error).__name__}; its log has the details under {request_id}"
    )
