"""SamplerService: the stored results of jobs, and their way in and out as one file."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from google.protobuf.empty_pb2 import Empty
from sqlalchemy import Connection

from gephyra.protos import sampler_service_pb2 as pb
from gephyra.protos import sampler_service_pb2_grpc as pb_grpc

from . import bundle, names
from .config import TENANT
from .convert import to_sampler
from .core import Core
from .crash import Place, crash_point
from .errors import InvalidArgument, Reason, bad_field
from .importing import Importer
from .paging import page_size
from .registration import find_sampler
from .store import samplers

__all__ = ["SamplerService"]


class SamplerService(pb_grpc.SamplerServiceServicer):
    """Trained samplers."""

    def __init__(self, core: Core, importer: Importer) -> None:
        self._core = core
        self._importer = importer

    async def GetSampler(self, request: pb.GetSamplerRequest, context: Any) -> pb.Sampler:
        name = names.parse(names.SAMPLERS, request.name, "name")
        return to_sampler(await self._core.store.read(find_sampler, name))

    async def ListSamplers(self, request: pb.ListSamplersRequest, context: Any) -> pb.ListSamplersResponse:
        size = page_size(request.page_size, self._core.config.limits)
        found, token = await self._core.store.read(samplers.page, TENANT, size, request.page_token)
        # Columns of data sets may be many.
        listed = [replace(sampler, sites=()) if sampler.of_data else sampler for sampler in found]
        return pb.ListSamplersResponse(samplers=[to_sampler(sampler) for sampler in listed], next_page_token=token)

    async def DeleteSampler(self, request: pb.DeleteSamplerRequest, context: Any) -> Empty:
        await self._core.store.write(_remove, names.parse(names.SAMPLERS, request.name, "name"))
        crash_point(Place.SAMPLER_DELETED)
        return Empty()

    async def ExportSampler(
        self, request: pb.ExportSamplerRequest, context: Any
    ) -> AsyncIterator[pb.ExportSamplerResponse]:
        name = names.parse(names.SAMPLERS, request.name, "name")
        sampler = await self._core.store.read(find_sampler, name)
        content = await asyncio.to_thread(bundle.pack, sampler, self._core.artefacts)
        size = self._core.config.limits.max_chunk_bytes
        for start in range(0, len(content), size):
            yield pb.ExportSamplerResponse(data=content[start : start + size])

    async def ImportSampler(self, request_iterator: AsyncIterator[pb.ImportSamplerRequest], context: Any) -> pb.Sampler:
        self._core.refuse_if_stopping()
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("part") != "header":
            raise bad_field("header", "expected a header in the first message")
        if first.header.target_id:
            names.check_id(first.header.target_id, "header.target_id")
        request_id = names.check_request_id(first.header.request_id)
        content = await _received(request_iterator, self._core.config.limits.max_import_bytes)
        return to_sampler(await self._importer.bring_in(content, first.header.target_id, request_id))


def _remove(connection: Connection, name: str) -> None:
    # Targets that are made of a model of data have its file.
    find_sampler(connection, name)
    samplers.remove(connection, TENANT, name)


async def _received(messages: AsyncIterator[pb.ImportSamplerRequest], most: int) -> bytes:
    content = bytearray()
    async for message in messages:
        if message.WhichOneof("part") != "data":
            raise bad_field("data", "expected data after the header")
        content += message.data
        if len(content) > most:
            raise InvalidArgument.at(Reason.SAMPLER_FILE_INVALID, "data", f"expected a file of at most {most} bytes")
    return bytes(content)
