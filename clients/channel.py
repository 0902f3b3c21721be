"""The connection to a server: channel options, deadlines, retries, and the size limit.

Calls that read, and calls that carry a request id, are repeated by gRPC itself when the server is unavailable; nothing
else is. A call that a busy server did not begin is sent again, whatever it is. Every unary call has a deadline. Streams
have none; who reads them resumes.

Of several servers gRPC uses those that are there and say that they serve. The calls above are then repeated for longer:
until one of them answers.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from google.protobuf.message import Message
from grpc import aio

from gephyra import __version__
from gephyra.protos import (
    blob_service_pb2_grpc,
    dataset_service_pb2_grpc,
    meta_service_pb2_grpc,
    sampler_service_pb2_grpc,
    target_service_pb2_grpc,
    training_service_pb2_grpc,
)

from .addresses import is_several, target_of
from .errors import DeadlineExceeded, GephyraError, MessageTooLarge, ServerBusy, ServerGone
from .resume import Patience
from .retries import service_config
from .status import error_from_call
from .tracing import Tracing, Untraced

if TYPE_CHECKING:
    from gephyra.protos.blob_service_pb2_grpc import BlobServiceAsyncStub
    from gephyra.protos.dataset_service_pb2_grpc import DatasetServiceAsyncStub
    from gephyra.protos.meta_service_pb2_grpc import MetaServiceAsyncStub
    from gephyra.protos.sampler_service_pb2_grpc import SamplerServiceAsyncStub, SamplingServiceAsyncStub
    from gephyra.protos.target_service_pb2_grpc import TargetServiceAsyncStub
    from gephyra.protos.training_service_pb2_grpc import TrainingServiceAsyncStub

__all__ = ["MAX_MESSAGE_BYTES", "UNARY_SECONDS", "Connection", "Host", "Stubs", "check_size"]

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""gRPC's own limit on a message, which servers keep."""
UNARY_SECONDS = 10.0
"""Deadline of a call that only reads or writes a record."""

_ORDERS = ("PauseTrainingJob", "ResumeTrainingJob", "RetryTrainingJob", "DeleteTrainingJob")
_SAFE = {
    "TargetService": ("CreateTarget", "GetTarget", "ListTargets", "CheckTarget", "EvaluateTarget"),
    "TrainingService": ("CreateTrainingJob", "GetTrainingJob", "ListTrainingJobs", "CancelTrainingJob", *_ORDERS),
    "DatasetService": ("CreateDataset", "GetDataset", "ListDatasets"),
    "BlobService": ("GetBlob",),
    "SamplerService": ("GetSampler", "ListSamplers"),
    "SamplingService": ("EstimateEvidence", "EvaluateLogProb", "EstimateLikelihood"),
    "MetaService": ("GetServerInfo",),
}
_REPEATED = frozenset(name for names in _SAFE.values() for name in names)
_PING_MS, _PONG_MS = 60_000, 20_000

# Servers say by their health that they drain, before they refuse anything.
_SEVERAL = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}

# Annotations with these are quoted: in the oldest grpcio we allow, its classes take no parameters at run time.
Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)
T = TypeVar("T")


class Host(Protocol):
    """Where the server is."""

    embedded: bool
    """True for a server that this client started, and that ends with it."""

    async def start(self) -> str:
        """The address; starts the server if that is ours to do."""
        ...

    def explain(self, error: ServerGone) -> GephyraError:
        """A better explanation of a server that does not answer, if there is one."""
        ...

    async def close(self) -> None:
        """Ends the server if it is ours."""
        ...


@dataclass(frozen=True, slots=True)
class Stubs:
    """The calls of the server, by service."""

    targets: "TargetServiceAsyncStub"
    blobs: "BlobServiceAsyncStub"
    datasets: "DatasetServiceAsyncStub"
    training: "TrainingServiceAsyncStub"
    samplers: "SamplerServiceAsyncStub"
    sampling: "SamplingServiceAsyncStub"
    meta: "MetaServiceAsyncStub"


class Connection:
    """One channel, made on the first call; errors come out as GephyraError.

    Attributes:
        host: Where the server is.
        patience: Seconds without progress after which a broken stream is given up.
        tracing: Where spans of calls go.
        address: The server's address; empty before the first call.
    """

    def __init__(self, host: Host, patience: float, tracing: Tracing | None = None) -> None:
        self.host = host
        self.patience = patience
        self.tracing = tracing or Untraced()
        self.address = ""
        self._channel: aio.Channel | None = None
        self._stubs: Stubs | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    async def start(self) -> Stubs:
        """Make the channel, and start the server if it is ours; does nothing the second time."""
        async with self._starting:
            if self._closed:
                raise ServerGone("this client is closed; make a new one")
            if self._stubs is None:
                self.address = await self.host.start()
                options = _options(_SEVERAL if is_several(self.address) else {})
                self._channel = aio.insecure_channel(await target_of(self.address), options=options)
                self._stubs = _stubs(self._channel)
            return self._stubs

    async def close(self) -> None:
        """Close the channel, and end the server if it is ours; does nothing the second time."""
        async with self._starting:
            self._closed, self._stubs = True, None
            if self._channel is not None:
                await self._channel.close()
                self._channel = None
            await self.host.close()
            await asyncio.to_thread(self.tracing.close)

    async def unary(
        self,
        call: "Callable[[Stubs], aio.UnaryUnaryMultiCallable[Q, R]]",
        request: Q,
        seconds: float = UNARY_SECONDS,
    ) -> R:
        """One request, one answer, within `seconds`; while the server is too busy to begin, also later."""
        check_size(request)
        patience = Patience(self.patience)
        while True:
            try:
                return await self._unary(call, request, seconds)
            except ServerBusy as error:
                await patience.wait(error, 0)
            except GephyraError as error:
                if not is_several(self.address) or _name(request) not in _REPEATED:
                    raise
                await patience.wait(error, 0)

    async def _unary(
        self, call: "Callable[[Stubs], aio.UnaryUnaryMultiCallable[Q, R]]", request: Q, seconds: float
    ) -> R:
        stubs = await self.start()
        # Of several, what may not be sent twice waits for one that is there before it is sent.
        wait = is_several(self.address) and _name(request) not in _REPEATED
        with self.tracing.call(_name(request)) as metadata:
            try:
                return await call(stubs)(request, timeout=seconds, metadata=metadata, wait_for_ready=wait)
            except aio.AioRpcError as error:
                raise self._explained(error) from None

    async def pages(self, call: "Callable[[Stubs], aio.UnaryUnaryMultiCallable[Q, R]]", request: Q) -> list[Any]:
        """All pages of a list."""
        asked: Any = request
        pages: list[Any] = [await self.unary(call, asked)]
        while pages[-1].next_page_token:
            asked.page_token = pages[-1].next_page_token
            pages.append(await self.unary(call, asked))
        return pages

    async def upload(
        self,
        call: "Callable[[Stubs], aio.StreamUnaryMultiCallable[Q, R]]",
        requests: Iterable[Q],
        seconds: float,
    ) -> R:
        """Many requests, one answer, within `seconds`."""
        stubs = await self.start()
        with self.tracing.call("upload") as metadata:
            try:
                return await call(stubs)(iter(requests), timeout=seconds, metadata=metadata)
            except aio.AioRpcError as error:
                raise self._explained(error) from None

    async def stream(
        self,
        call: "Callable[[Stubs], aio.UnaryStreamMultiCallable[Q, R]]",
        request: Q,
        silence: float | None = None,
    ) -> AsyncGenerator[R, None]:
        """One request, many answers. Raises DeadlineExceeded if none comes for `silence` seconds."""
        check_size(request)
        stubs = await self.start()
        with self.tracing.call(_name(request)) as metadata:
            reader = call(stubs)(request, metadata=metadata)
            try:
                while True:
                    async with asyncio.timeout(silence):
                        answer: Any = await reader.read()
                    if answer is aio.EOF:
                        return
                    yield answer
            except TimeoutError:
                raise DeadlineExceeded(f"the stream from {self.address} was silent for {silence:.0f} s") from None
            except aio.AioRpcError as error:
                raise self._explained(error) from None
            finally:
                reader.cancel()

    def _explained(self, error: aio.AioRpcError) -> GephyraError:
        translated = error_from_call(error, self.address)
        return self.host.explain(translated) if isinstance(translated, ServerGone) else translated


def check_size(request: Message) -> None:
    """Raise MessageTooLarge for a message over the limit, before it is sent."""
    size = request.ByteSize()
    if size > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(
            f"the {type(request).__name__} holds {size} bytes, the limit is {MAX_MESSAGE_BYTES}; "
            "pass large arrays as data (they are uploaded beside the message), or send fewer points",
            metadata={"size_bytes": str(size), "max_message_bytes": str(MAX_MESSAGE_BYTES)},
        )


def _name(request: Message) -> str:
    """The name of the call: every one has a request of its own, named after it."""
    return type(request).__name__.removesuffix("Request")


def _options(config: Mapping[str, object]) -> list[tuple[str, str | int]]:
    return [
        ("grpc.service_config", service_config(_SAFE, config)),
        # A connection that swallows everything is noticed by the calls on it, not only by those who wait for an answer.
        ("grpc.keepalive_time_ms", _PING_MS),
        ("grpc.keepalive_timeout_ms", _PONG_MS),
        # gRPC pings to measure the connection too, and while it waits for one answer it does not ask again.
        ("grpc.http2.ping_timeout_ms", _PONG_MS),
        # By default gRPC pings twice and then waits until it has something to send, which a watch seldom has.
        ("grpc.http2.max_pings_without_data", 0),
        # The defaults wait up to two minutes before a restarted server is tried again.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Servers listen on this machine: a proxy from the environment would only be in the way.
        ("grpc.enable_http_proxy", 0),
        ("grpc.primary_user_agent", f"gephyra/{__version__}"),
    ]


def _stubs(channel: aio.Channel) -> Stubs:
    return Stubs(
        targets=target_service_pb2_grpc.TargetServiceStub(channel),
        blobs=blob_service_pb2_grpc.BlobServiceStub(channel),
        datasets=dataset_service_pb2_grpc.DatasetServiceStub(channel),
        training=training_service_pb2_grpc.TrainingServiceStub(channel),
        samplers=sampler_service_pb2_grpc.SamplerServiceStub(channel),
        sampling=sampler_service_pb2_grpc.SamplingServiceStub(channel),
        meta=meta_service_pb2_grpc.MetaServiceStub(channel),
    )
