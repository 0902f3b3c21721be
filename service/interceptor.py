"""Turns every exception of a handler into a status with details; a fault of ours shows no traceback to callers."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_status import rpc_status

from .errors import Internal, Reason, ResourceExhausted, ServiceError, to_status
from .full import MESSAGE, is_full

__all__ = ["ErrorInterceptor"]

logger = logging.getLogger(__name__)

_OURS = "/gephyra.v1."


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Maps ServiceError by the table in `errors.py`, and anything else to INTERNAL. Health and reflection pass by."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler of one of our methods."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(_OURS):
            return handler
        serialisation = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(_one(handler.unary_unary), *serialisation)
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(_one(handler.stream_unary), *serialisation)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(_many(handler.unary_stream), *serialisation)
        return grpc.stream_stream_rpc_method_handler(_many(handler.stream_stream), *serialisation)


def _one(behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    async def handle(request: Any, context: Any) -> Any:
        try:
            return await behaviour(request, context)
        except Exception as error:
            await _abort(context, error)

    return handle


def _many(behaviour: Callable[[Any, Any], AsyncIterator[Any]]) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for response in behaviour(request, context):
                yield response
        except Exception as error:
            await _abort(context, error)

    return handle


async def _abort(context: Any, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, ServiceError):
        error = _explained(error)
    await context.abort_with_status(rpc_status.to_status(to_status(error)))


def _explained(error: Exception) -> ServiceError:
    if is_full(error):
        logger.error("no room: %s", error)
        return ResourceExhausted(Reason.STORAGE_FULL, MESSAGE)
    logger.error("unexpected error in a handler", exc_info=error)
    return Internal(Reason.INTERNAL, f"the server failed with {type(error).__name__}; its log has the details")
