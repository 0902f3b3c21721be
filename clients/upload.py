"""Moves large arrays of a target definition to blobs, and files to the server, in pieces."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from gephyra.protos import blob_service_pb2, sampler_service_pb2, target_service_pb2, tensor_pb2

from .channel import Connection

__all__ = ["INLINE_BYTES", "move_arrays", "sampler_requests"]

INLINE_BYTES = 64 * 1024
"""Arrays of more bytes than this are sent as blobs."""
_CHUNK_BYTES = 256 * 1024
# Generous: 256 MiB, the most a server takes, at 1 MiB/s.
_UPLOAD_SECONDS = 300.0


async def move_arrays(
    connection: Connection, definition: target_service_pb2.TargetDefinition
) -> target_service_pb2.TargetDefinition:
    """The definition with every large array uploaded and replaced by its blob; the argument stays as it is."""
    moved = target_service_pb2.TargetDefinition()
    moved.CopyFrom(definition)
    for array in _arrays(moved):
        if len(array.inline.data) > INLINE_BYTES:
            blob = await _upload(connection, array.inline.data)
            array.blob.CopyFrom(tensor_pb2.BlobArray(blob=blob, dtype=array.inline.dtype, shape=array.inline.shape))
    return moved


def sampler_requests(path: Path, target_id: str, request_id: str) -> Iterator[sampler_service_pb2.ImportSamplerRequest]:
    """The messages that bring a sampler file to the server."""
    header = sampler_service_pb2.ImportSamplerRequest.Header(target_id=target_id, request_id=request_id)
    yield sampler_service_pb2.ImportSamplerRequest(header=header)
    with path.open("rb") as file:
        while part := file.read(_CHUNK_BYTES):
            yield sampler_service_pb2.ImportSamplerRequest(data=part)


def _arrays(definition: target_service_pb2.TargetDefinition) -> Iterator[tensor_pb2.DataArray]:
    """All arrays of the definition; neither kind present means none."""
    yield from definition.program.arrays
    for parameter in definition.catalogue.parameters:
        if parameter.HasField("array"):
            yield parameter.array


async def _upload(connection: Connection, data: bytes) -> str:
    """The name of the blob with this content."""
    header = blob_service_pb2.UploadBlobRequest.Header(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))

    def requests() -> Iterator[blob_service_pb2.UploadBlobRequest]:
        yield blob_service_pb2.UploadBlobRequest(header=header)
        for first in range(0, len(data), _CHUNK_BYTES):
            yield blob_service_pb2.UploadBlobRequest(data=data[first : first + _CHUNK_BYTES])

    answer = await connection.upload(lambda stubs: stubs.blobs.UploadBlob, requests(), _UPLOAD_SECONDS)
    return answer.name
