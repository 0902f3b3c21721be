"""DatasetService: tables of numbers, examined when they are made."""

import asyncio
import uuid
from typing import Any

from google.protobuf.empty_pb2 import Empty
from sqlalchemy import Connection

from gephyra.protos import dataset_service_pb2 as pb
from gephyra.protos import dataset_service_pb2_grpc as pb_grpc

from . import names
from .artefacts import Artefacts
from .config import TENANT
from .convert import to_dataset
from .core import Core, request_digest
from .crash import Place, crash_point
from .errors import AlreadyExists, Internal, NotFound, Reason, bad_field
from .handing import blob_path
from .ingest import Ingested, blob_name, check_request, ingest
from .paging import page_size
from .registration import refuse_if_needed
from .store import blobs, datasets, idempotency
from .store.records import DatasetRecord

__all__ = ["DatasetService", "find_dataset"]

_METHOD = "CreateDataset"
_MOST_DISPLAY_NAME = 200
# Another server may delete the last data set of this content in between: twice in a row would be strange.
_TRIES = 3


class DatasetService(pb_grpc.DatasetServiceServicer):
    """Data sets."""

    def __init__(self, core: Core) -> None:
        self._core = core
        # One at a time is examined or deleted: memory stays bounded.
        self._changing = asyncio.Lock()

    async def CreateDataset(self, request: pb.CreateDatasetRequest, context: Any) -> pb.Dataset:
        self._core.refuse_if_stopping()
        name = names.check_id(request.dataset_id, "dataset_id") if request.dataset_id else names.new_id("dataset")
        names.check_request_id(request.request_id)
        _check_display_name(request.display_name)
        blob, field = blob_name(request)
        sha256 = names.check_sha256(names.parse(names.BLOBS, blob, field), field)
        check_request(request, self._core.config.limits)
        digest = request_digest(request)
        async with self._changing:
            try:
                made = await self._recalled(request, digest) or await self._made(request, name, digest, sha256)
            except NotFound:
                # The same request may have been at another server, and used up the blob.
                known = await self._recalled(request, digest)
                if known is None:
                    raise
                made = known
        return to_dataset(made)

    async def _recalled(self, request: pb.CreateDatasetRequest, digest: str) -> DatasetRecord | None:
        return await self._core.store.read(_recall, request.request_id, digest)

    async def _made(self, request: pb.CreateDatasetRequest, name: str, digest: str, sha256: str) -> DatasetRecord:
        origin, contents = _origin(request), self._core.datasets
        for _ in range(_TRIES):
            like = await self._core.store.read(datasets.find_origin, TENANT, origin)
            found = await self._ingested(request, sha256) if like is None else _of(like)
            crash_point(Place.DATASET_CONTENT)
            record = DatasetRecord(
                name=name, uid=str(uuid.uuid4()), display_name=request.display_name or name, origin=origin,
                content=found.content, digest=found.digest, rows=found.rows, columns=len(found.facts),
                dtype=found.dtype, on_levels=all(column.on_levels for column in found.facts),
                create_time=self._core.clock(), facts=found.facts,
            )  # fmt: skip
            made = await self._core.store.write(_add, contents, record, request.request_id, digest, sha256)
            if made is not None:
                crash_point(Place.DATASET_STORED)
                await asyncio.to_thread(self._core.uploads.whole.remove, sha256)
                return made
        raise Internal(Reason.INTERNAL, f"the content of {name} went away {_TRIES} times while it was stored")

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Any) -> pb.Dataset:
        name = names.parse(names.DATASETS, request.name, "name")
        return to_dataset(await self._core.store.read(find_dataset, name))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Any) -> pb.ListDatasetsResponse:
        size = page_size(request.page_size, self._core.config.limits)
        found, token = await self._core.store.read(datasets.page, TENANT, size, request.page_token)
        return pb.ListDatasetsResponse(datasets=[to_dataset(each) for each in found], next_page_token=token)

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Any) -> Empty:
        name = names.parse(names.DATASETS, request.name, "name")
        async with self._changing:
            free = await self._core.store.write(_remove, name)
            crash_point(Place.DATASET_DELETED)
            if free is not None:
                await self._core.store.write(_drop, self._core.datasets, free)
        return Empty()

    async def _ingested(self, request: pb.CreateDatasetRequest, sha256: str) -> Ingested:
        """What the blob holds. Raises NotFound (BLOB_NOT_FOUND), InvalidArgument."""
        size = await self._core.store.read(blobs.size, TENANT, sha256)
        path = None if size is None else await blob_path(self._core, sha256)
        if path is None:
            resource = f"{names.BLOBS}/{sha256}"
            raise NotFound(
                Reason.BLOB_NOT_FOUND, f"no blob {resource}; send it with UploadBlob first", resource=resource
            )
        limits = self._core.config.limits
        return await asyncio.to_thread(ingest, request, path, self._core.datasets, limits)


def find_dataset(connection: Connection, name: str) -> DatasetRecord:
    """The data set of that id. Raises NotFound."""
    dataset = datasets.find(connection, TENANT, name)
    if dataset is None:
        resource = f"{names.DATASETS}/{name}"
        raise NotFound(Reason.DATASET_NOT_FOUND, f"there is no data set {resource}", resource=resource)
    return dataset


def _check_display_name(name: str) -> None:
    if len(name) > _MOST_DISPLAY_NAME or not name.isprintable():
        raise bad_field("display_name", f"expected at most {_MOST_DISPLAY_NAME} printable characters")


def _origin(request: pb.CreateDatasetRequest) -> str:
    """SHA-256 of what decides the content: the bytes, how they are read, the names of columns."""
    copy = pb.CreateDatasetRequest()
    copy.CopyFrom(request)
    for field in ("dataset_id", "display_name", "request_id"):
        copy.ClearField(field)
    return request_digest(copy)


def _of(dataset: DatasetRecord) -> Ingested:
    """The content of a data set, for another one."""
    return Ingested(dataset.content, dataset.digest, dataset.rows, dataset.dtype, dataset.facts)


def _recall(connection: Connection, request_id: str, request_sha256: str) -> DatasetRecord | None:
    name = idempotency.recall(connection, TENANT, _METHOD, request_id, request_sha256)
    return None if name is None else find_dataset(connection, name)


def _add(
    connection: Connection, contents: Artefacts, dataset: DatasetRecord, request_id: str, request_sha256: str, blob: str
) -> DatasetRecord | None:
    """Store a data set, or find the one of this name and content; None if its content has gone. The blob is used up."""
    known = _recall(connection, request_id, request_sha256)
    if known is not None:
        return known
    present = datasets.find(connection, TENANT, dataset.name)
    if present is not None and present.digest != dataset.digest:
        resource = f"{names.DATASETS}/{dataset.name}"
        raise AlreadyExists(
            Reason.DATASET_NAME_TAKEN,
            f"{resource} exists with other content (digest {present.digest[:12]}, this one has {dataset.digest[:12]}); "
            "choose another name or delete that data set",
            resource=resource,
        )
    if present is None:
        if contents.size(dataset.content) is None:
            return None
        datasets.add(connection, TENANT, dataset)
    blobs.remove(connection, TENANT, blob)
    idempotency.remember(connection, TENANT, _METHOD, request_id, request_sha256, dataset.name, dataset.create_time)
    return present or dataset


def _drop(connection: Connection, contents: Artefacts, content: str) -> None:
    """Remove content that nothing needs: within a write, so that no row for it is made meanwhile."""
    if content not in datasets.contents(connection):
        contents.remove(content)


def _remove(connection: Connection, name: str) -> str | None:
    """Forget a data set; its content if nothing needs that any more. Raises NotFound, FailedPrecondition."""
    content = find_dataset(connection, name).content
    refuse_if_needed(f"{names.DATASETS}/{name}", datasets.users(connection, TENANT, name))
    datasets.remove(connection, TENANT, name)
    return None if content in datasets.contents(connection) else content
