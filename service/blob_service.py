"""BlobService: raw bytes that requests refer to by content."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from gephyra.protos import blob_service_pb2 as pb
from gephyra.protos import blob_service_pb2_grpc as pb_grpc

from . import names
from .config import TENANT
from .core import Core
from .crash import Place, crash_point
from .errors import InvalidArgument, NotFound, Reason, bad_field
from .handing import blob_path
from .store import blobs
from .uploads import Upload

__all__ = ["BlobService"]


class BlobService(pb_grpc.BlobServiceServicer):
    """Takes uploads; a stream that breaks can be gone on with."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def UploadBlob(
        self, request_iterator: AsyncIterator[pb.UploadBlobRequest], context: Any
    ) -> pb.UploadBlobResponse:
        self._core.refuse_if_stopping()
        header = await self._header(request_iterator)
        with self._core.uploads.begin(header.sha256) as upload:
            await _resume(upload, header)
            async for message in request_iterator:
                if message.WhichOneof("part") != "data":
                    raise bad_field("data", "expected data after the header")
                if upload.size + len(message.data) > header.size_bytes:
                    upload.drop()
                    raise _mismatch(f"expected {header.size_bytes} bytes, more came")
                await asyncio.to_thread(upload.write, message.data)
            _check_complete(header, upload)
            await asyncio.to_thread(upload.commit)
        crash_point(Place.BLOB_CONTENT)
        now = self._core.clock()
        await self._core.store.write(blobs.add, TENANT, header.sha256, header.size_bytes, now)
        crash_point(Place.BLOB_STORED)
        return pb.UploadBlobResponse(name=f"{names.BLOBS}/{header.sha256}", size_bytes=header.size_bytes)

    async def GetBlob(self, request: pb.GetBlobRequest, context: Any) -> pb.Blob:
        sha256 = names.check_sha256(names.parse(names.BLOBS, request.name, "name"), "name")
        size = await self._core.store.read(blobs.size, TENANT, sha256)
        if size is not None and await blob_path(self._core, sha256) is not None:
            return pb.Blob(name=request.name, received_bytes=size, complete=True)
        received = self._core.uploads.received(sha256)
        if not received:
            message = f"nothing of {request.name} is here; send it with UploadBlob"
            raise NotFound(Reason.BLOB_NOT_FOUND, message, resource=request.name)
        return pb.Blob(name=request.name, received_bytes=received)

    async def _header(self, messages: AsyncIterator[pb.UploadBlobRequest]) -> pb.UploadBlobRequest.Header:
        first = await anext(aiter(messages), None)
        if first is None or first.WhichOneof("part") != "header":
            raise bad_field("header", "expected a header in the first message")
        names.check_sha256(first.header.sha256, "header.sha256")
        most = self._core.config.limits.max_blob_bytes
        if first.header.size_bytes > most:
            description = f"expected at most {most} bytes, got {first.header.size_bytes}"
            raise InvalidArgument.at(Reason.DATA_TOO_LARGE, "header.size_bytes", description)
        if first.header.size_bytes < 0:
            raise bad_field("header.size_bytes", f"expected 0 or more, got {first.header.size_bytes}")
        return first.header


async def _resume(upload: Upload, header: pb.UploadBlobRequest.Header) -> None:
    """Go on where the header says. Raises InvalidArgument."""
    if not 0 <= header.offset <= header.size_bytes:
        raise bad_field("header.offset", f"expected 0 to {header.size_bytes} bytes, got {header.offset}")
    if not header.offset:
        return
    try:
        await asyncio.to_thread(upload.resume, header.offset)
    except ValueError as error:
        description = f"{error}, got offset {header.offset}; ask GetBlob how many there are"
        raise InvalidArgument.at(Reason.BLOB_OFFSET_INVALID, "header.offset", description) from None


def _check_complete(header: pb.UploadBlobRequest.Header, upload: Upload) -> None:
    """Raises InvalidArgument if what came is not what was announced; too little is kept, wrong content forgotten."""
    if upload.size != header.size_bytes:
        # The end of a stream and its breaking look the same from here.
        raise _mismatch(f"expected {header.size_bytes} bytes, {upload.size} came")
    if upload.sha256 != header.sha256:
        upload.drop()
        description = f"the bytes have SHA-256 {upload.sha256}, not {header.sha256}"
        raise InvalidArgument.at(Reason.BLOB_MISMATCH, "header.sha256", description)


def _mismatch(description: str) -> InvalidArgument:
    return InvalidArgument.at(Reason.BLOB_MISMATCH, "header.size_bytes", description)
