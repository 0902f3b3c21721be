"""Brings an exported sampler into this server: registers and checks its target, tries the sampler, stores it."""

import asyncio
import hashlib
import uuid

from sqlalchemy import Connection

from gephyra.protos import worker_pb2

from . import jobs, names
from .bundle import Bundle, unpack
from .checks import Checks
from .config import TENANT
from .core import Core
from .crash import Place, crash_point
from .errors import AlreadyExists, InvalidArgument, NotFound, Reason, Violation, status_failure
from .registration import find_target, register
from .store import blobs, idempotency, samplers
from .store.records import SamplerRecord, TargetRecord

__all__ = ["Importer"]

_METHOD = "ImportSampler"


class Importer:
    """Imports sampler files."""

    def __init__(self, core: Core, checks: Checks) -> None:
        self._core = core
        self._checks = checks

    async def bring_in(self, content: bytes, target_id: str, request_id: str) -> SamplerRecord:
        """The sampler in an exported file. Raises ServiceError."""
        request_sha256 = hashlib.sha256(target_id.encode() + b"\0" + content).hexdigest()
        known = await self._core.store.read(_recall, request_id, request_sha256)
        if known is not None:
            return known
        bundle = await asyncio.to_thread(unpack, content)
        digest = await asyncio.to_thread(self._store_content, bundle)
        crash_point(Place.IMPORT_CONTENT)
        target = await self._target(bundle, target_id)
        await self._try(target, digest)
        record = SamplerRecord(
            name=names.new_id("sampler"), uid=str(uuid.uuid4()), target=target.name, target_digest=target.digest,
            job="", settings=bundle.settings, report=bundle.report, dim=target.dim, sites=target.sites, digest=digest,
            create_time=self._core.clock(),
        )  # fmt: skip
        made = await self._core.store.write(_add, record, request_id, request_sha256)
        crash_point(Place.IMPORT_STORED)
        return made

    def _store_content(self, bundle: Bundle) -> str:
        for sha256, content in bundle.blobs.items():
            if hashlib.sha256(content).hexdigest() != sha256:
                raise _invalid(f"the array {sha256[:80]} has other content than its name says")
            self._core.artefacts.put(content)
            self._core.store.write_now(blobs.add, TENANT, sha256, len(content), self._core.clock())
        return self._core.artefacts.put(bundle.sampler)

    async def _target(self, bundle: Bundle, target_id: str) -> TargetRecord:
        try:
            target = await register(self._core, bundle.definition, target_id or bundle.target_id, "")
        except AlreadyExists:
            if target_id:
                raise
            target = await register(self._core, bundle.definition, "", "")
        await self._checks.begin(target.name)
        await self._checks.wait(target.uid)
        self._core.refuse_if_stopping()
        target = await self._core.store.read(jobs.ready_target, target.name)
        if target.dim != bundle.dim:
            raise _invalid(f"its sampler has dimension {bundle.dim}, its target {target.dim}")
        return target

    async def _try(self, target: TargetRecord, digest: str) -> None:
        """One draw shows that the sampler can be loaded on this target."""
        draw = worker_pb2.WorkerCommand.Draw(
            sampler_path=str(self._core.artefacts.path(digest)), count=1, omit_sites=True,
            target_path=str(self._core.artefacts.path(target.digest)),
        )  # fmt: skip
        event = await self._core.pool.ask(
            worker_pb2.WorkerCommand(draw=draw), self._core.config.timings.draw, key=digest
        )
        if event.WhichOneof("event") != "done":
            raise _invalid(status_failure(event.failed).message)


def _recall(connection: Connection, request_id: str, request_sha256: str) -> SamplerRecord | None:
    name = idempotency.recall(connection, TENANT, _METHOD, request_id, request_sha256)
    if name is None:
        return None
    sampler = samplers.find(connection, TENANT, name)
    if sampler is None:
        resource = f"samplers/{name}"
        raise NotFound(Reason.SAMPLER_NOT_FOUND, f"{resource} was deleted after its import", resource=resource)
    return sampler


def _add(connection: Connection, sampler: SamplerRecord, request_id: str, request_sha256: str) -> SamplerRecord:
    known = _recall(connection, request_id, request_sha256)
    if known is not None:
        return known
    # The target may have been deleted while the sampler was tried.
    find_target(connection, sampler.target)
    samplers.add(connection, TENANT, sampler)
    idempotency.remember(connection, TENANT, _METHOD, request_id, request_sha256, sampler.name, sampler.create_time)
    return sampler


def _invalid(why: str) -> InvalidArgument:
    message = f"the sampler file cannot be used: {why}"
    return InvalidArgument(Reason.SAMPLER_FILE_INVALID, message, (Violation("data", message),))
