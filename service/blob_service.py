"""BlobService: raw bytes that requests refer to by content."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from gephyra.protos import blob_service_pb2 as pb
from gephyra.protos import blob_service_pb2_grpc as pb_grpc

from . import names
from .artefacts import ArtefactWriter
from .config import TENANT
from .core import Core
from .errors import InvalidArgument, Reason, bad_field
from .store import targets

__all__ = ["BlobService"]


class BlobService(pb_grpc.BlobServiceServicer):
    """Stores uploads."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def UploadBlob(
        self, request_iterator: AsyncIterator[pb.UploadBlobRequest], context: Any
    ) -> pb.UploadBlobResponse:
        self._core.refuse_if_stopping()
        header = await self._header(request_iterator)
        with self._core.artefacts.writer() as writer:
            async for message in request_iterator:
                if message.WhichOneof("part") != "data":
                    raise bad_field("data", "expected data after the header")
                if writer.size + len(message.data) > header.size_bytes:
                    raise _mismatch(f"expected {header.size_bytes} bytes, more came")
                await asyncio.to_thread(writer.write, message.data)
            _check_complete(header, writer)
            await asyncio.to_thread(writer.commit)
        now = self._core.clock()
        await self._core.store.write(targets.add_blob, TENANT, header.sha256, header.size_bytes, now)
        return pb.UploadBlobResponse(name=f"{names.BLOBS}/{header.sha256}", size_bytes=header.size_bytes)

    async def _header(self, messages: AsyncIterator[pb.UploadBlobRequest]) -> pb.UploadBlobRequest.Header:
        first = await anext(aiter(messages), None)
        if first is None or first.WhichOneof("part") != "header":
            raise bad_field("header", "expected a header in the first message")
        names.check_sha256(first.header.sha256, "header.sha256")
        most = self._core.config.limits.max_blob_bytes
        if not 0 <= first.header.size_bytes <= most:
            raise bad_field("header.size_bytes", f"expected 0 to {most} bytes, got {first.header.size_bytes}")
        return first.header


def _check_complete(header: pb.UploadBlobRequest.Header, writer: ArtefactWriter) -> None:
    if writer.size != header.size_bytes:
        raise _mismatch(f"expected {header.size_bytes} bytes, {writer.size} came")
    if writer.sha256 != header.sha256:
        raise InvalidArgument.at(
            Reason.BLOB_MISMATCH, "header.sha256", f"the bytes have SHA-256 {writer.sha256}, not {header.sha256}"
        )


def _mismatch(description: str) -> InvalidArgument:
    return InvalidArgument.at(Reason.BLOB_MISMATCH, "header.size_bytes", description)
