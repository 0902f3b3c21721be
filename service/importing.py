"""Brings an exported sampler into this server: registers and checks its target, tries the sampler, stores it.

A model of data comes without the data; where they are here by the same name, it is theirs.
"""

import asyncio
import hashlib
import uuid
from dataclasses import replace

from sqlalchemy import Connection

from gephyra.protos import worker_pb2
from gephyra.targets.program import Site

from . import jobs, names
from .bundle import Bundle, ModelBundle, unpack
from .checks import Checks
from .config import TENANT
from .core import Core
from .crash import Place, crash_point
from .definitions import draw_bytes
from .errors import AlreadyExists, InvalidArgument, NotFound, Reason, Violation, bad_field, status_failure
from .handing import sampler_path, target_path
from .ingest import column_names
from .registration import find_target, register
from .store import blobs, datasets, idempotency, samplers
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
        if isinstance(bundle, ModelBundle):
            if target_id:
                raise bad_field("header.target_id", "the file holds a model of data, which has no target: leave it out")
            record = await self._model(bundle)
        else:
            record = await self._sampler(bundle, target_id)
        made = await self._core.store.write(_add, record, request_id, request_sha256)
        crash_point(Place.IMPORT_STORED)
        return made

    async def _sampler(self, bundle: Bundle, target_id: str) -> SamplerRecord:
        digest = await asyncio.to_thread(self._store_content, bundle)
        crash_point(Place.IMPORT_CONTENT)
        target = await self._target(bundle, target_id)
        draw = worker_pb2.WorkerCommand.Draw(
            sampler_path=await sampler_path(self._core, digest), count=1, omit_sites=True,
            target_path=await target_path(self._core, target.digest),
        )  # fmt: skip
        await self._try(worker_pb2.WorkerCommand(draw=draw), digest, target.dim)
        return SamplerRecord(
            name=names.new_id("sampler"), uid=str(uuid.uuid4()), target=target.name, target_digest=target.digest,
            job="", settings=bundle.settings, report=bundle.report, dim=target.dim, sites=target.sites, digest=digest,
            create_time=self._core.clock(),
        )  # fmt: skip

    async def _model(self, bundle: ModelBundle) -> SamplerRecord:
        sites, dim = _columns(bundle.columns, self._core.config.limits.max_draw_bytes), len(bundle.columns)
        digest = await asyncio.to_thread(self._core.artefacts.put, bundle.sampler)
        crash_point(Place.IMPORT_CONTENT)
        path = await sampler_path(self._core, digest)
        generate = worker_pb2.WorkerCommand.Generate(sampler_path=path, count=1, solver_steps=1)
        await self._try(worker_pb2.WorkerCommand(generate=generate), digest, dim)
        return SamplerRecord(
            name=names.new_id("sampler"), uid=str(uuid.uuid4()), target="", target_digest="", job="",
            settings=bundle.settings, report=bundle.report, dim=dim, sites=sites, digest=digest,
            create_time=self._core.clock(), dataset=bundle.dataset_id, dataset_digest=bundle.dataset_digest,
        )  # fmt: skip

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
        await self._checks.wait(target)
        self._core.refuse_if_stopping()
        target = await self._core.store.read(jobs.ready_target, target.name)
        if target.dim != bundle.dim:
            raise _invalid(f"its sampler has dimension {bundle.dim}, its target {target.dim}")
        return target

    async def _try(self, command: worker_pb2.WorkerCommand, digest: str, dim: int) -> None:
        """One draw shows that the sampler can be loaded, on its target if it has one."""
        came: list[int] = []

        def note(block: worker_pb2.WorkerEvent.Block) -> None:
            came.extend(block.x.shape[1:])

        event = await self._core.pool.ask(command, self._core.config.timings.draw, key=digest, on_block=note)
        if event.WhichOneof("event") != "done":
            raise _invalid(status_failure(event.failed).message)
        if came != [dim]:
            raise _invalid(f"its draws have shape {came}, expected [{dim}]")


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
    if sampler.of_data:
        dataset = datasets.find(connection, TENANT, sampler.dataset)
        if dataset is None or dataset.digest != sampler.dataset_digest:
            sampler = replace(sampler, dataset="")
    else:
        # The target may have been deleted while the sampler was tried.
        find_target(connection, sampler.target)
    samplers.add(connection, TENANT, sampler)
    idempotency.remember(connection, TENANT, _METHOD, request_id, request_sha256, sampler.name, sampler.create_time)
    return sampler


def _columns(given: tuple[str, ...], most_bytes: int) -> tuple[Site, ...]:
    """The columns of a model. Raises InvalidArgument (SAMPLER_FILE_INVALID)."""
    try:
        sites = tuple(Site(name, (), "float32") for name in column_names(given, len(given), ()))
    except InvalidArgument as error:
        raise _invalid(error.message) from None
    if not sites or draw_bytes(len(sites), (), omit_sites=True) > most_bytes:
        raise _invalid(f"it has {len(sites)} columns, at least 1 expected and no more than a message holds")
    return sites


def _invalid(why: str) -> InvalidArgument:
    message = f"the sampler file cannot be used: {why}"
    return InvalidArgument(Reason.SAMPLER_FILE_INVALID, message, (Violation("data", message),))
