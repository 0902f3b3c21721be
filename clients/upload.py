"""Moves content to blobs, in pieces and across broken streams, and sampler files to the server."""

from collections.abc import Callable, Iterator
from pathlib import Path

from gephyra.protos import blob_service_pb2, sampler_service_pb2, target_service_pb2, tensor_pb2

from .channel import Connection
from .content import CHUNK_BYTES, BytesContent, Content
from .errors import GephyraError, InvalidArgument, NotFound, Unimplemented
from .request import new_request_id
from .resume import Patience

__all__ = ["INLINE_BYTES", "import_sampler", "move_arrays", "sampler_requests", "upload_blob"]

INLINE_BYTES = 64 * 1024
"""Arrays of more bytes than this are sent as blobs."""
# Generous: 256 MiB, the most a server takes, at 1 MiB/s.
_UPLOAD_SECONDS = 300.0
_IMPORT_SECONDS = 300.0
_NOT_THE_BEGINNING = {"BLOB_MISMATCH", "BLOB_OFFSET_INVALID"}


async def move_arrays(
    connection: Connection, definition: target_service_pb2.TargetDefinition
) -> target_service_pb2.TargetDefinition:
    """The definition with every large array uploaded and replaced by its blob; the argument stays as it is."""
    moved = target_service_pb2.TargetDefinition()
    moved.CopyFrom(definition)
    for array in _arrays(moved):
        if len(array.inline.data) > INLINE_BYTES:
            blob = await upload_blob(connection, BytesContent(array.inline.data))
            array.blob.CopyFrom(tensor_pb2.BlobArray(blob=blob, dtype=array.inline.dtype, shape=array.inline.shape))
    return moved


async def upload_blob(
    connection: Connection, content: Content, *, resume: bool = False, told: Callable[[int], object] = lambda sent: None
) -> str:
    """The name of the blob with this content, which is sent. A stream that breaks is resumed where it broke.

    Args:
        connection: To the server.
        content: What to send.
        resume: Ask first what the server has, for example of an upload whose process ended.
        told: Called with the number of bytes that were sent.

    Raises:
        InvalidArgument: For content larger than the server takes (DATA_TOO_LARGE).
    """
    patience, offset = Patience(connection.patience), 0
    blob = blob_service_pb2.Blob(name=f"blobs/{content.sha256}")
    ask = resume
    while True:
        try:
            if ask:
                blob = await _found(connection, blob.name)
                ask, offset = False, min(blob.received_bytes, content.size)
            if not blob.complete:
                requests = _requests(content, offset, told)
                await connection.upload(lambda stubs: stubs.blobs.UploadBlob, requests, _UPLOAD_SECONDS)
            return blob.name
        except InvalidArgument as error:
            if offset == 0 or error.reason not in _NOT_THE_BEGINNING:
                raise
            # What another stream brought is not the beginning of this content, or has gone.
            offset = 0
        except GephyraError as error:
            await patience.wait(error, offset)
            ask = True


async def import_sampler(connection: Connection, path: Path, target_id: str) -> sampler_service_pb2.Sampler:
    """Send a sampler file; the sampler it became. A stream that breaks is sent again, and counts once."""
    patience, request_id = Patience(connection.patience), new_request_id()
    while True:
        try:
            requests = sampler_requests(path, target_id, request_id)
            return await connection.upload(lambda stubs: stubs.samplers.ImportSampler, requests, _IMPORT_SECONDS)
        except GephyraError as error:
            await patience.wait(error, 0)


def sampler_requests(path: Path, target_id: str, request_id: str) -> Iterator[sampler_service_pb2.ImportSamplerRequest]:
    """The messages that bring a sampler file to the server."""
    header = sampler_service_pb2.ImportSamplerRequest.Header(target_id=target_id, request_id=request_id)
    yield sampler_service_pb2.ImportSamplerRequest(header=header)
    with path.open("rb") as file:
        while part := file.read(CHUNK_BYTES):
            yield sampler_service_pb2.ImportSamplerRequest(data=part)


def _arrays(definition: target_service_pb2.TargetDefinition) -> Iterator[tensor_pb2.DataArray]:
    """All arrays of the definition; neither kind present means none."""
    yield from definition.program.arrays
    for parameter in definition.catalogue.parameters:
        if parameter.HasField("array"):
            yield parameter.array


async def _found(connection: Connection, name: str) -> blob_service_pb2.Blob:
    """What the server has of a blob; servers up to 0.2 do not tell."""
    try:
        request = blob_service_pb2.GetBlobRequest(name=name)
        return await connection.unary(lambda stubs: stubs.blobs.GetBlob, request)
    except (NotFound, Unimplemented):
        return blob_service_pb2.Blob(name=name)


def _requests(
    content: Content, offset: int, told: Callable[[int], object]
) -> Iterator[blob_service_pb2.UploadBlobRequest]:
    header = blob_service_pb2.UploadBlobRequest.Header(sha256=content.sha256, size_bytes=content.size, offset=offset)
    yield blob_service_pb2.UploadBlobRequest(header=header)
    for part in content.parts(offset):
        told(offset)
        yield blob_service_pb2.UploadBlobRequest(data=part)
        offset += len(part)
    told(offset)
