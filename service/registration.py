"""Targets in the store: registering is idempotent by content, deleting needs that nothing uses the target."""

import asyncio
import hashlib
import uuid
from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import Connection

from gephyra.protos import target_service_pb2
from gephyra.samplers.denoising.report import DenoisingReport

from . import names
from .artefacts import CorruptArtefact
from .config import TENANT
from .core import Core
from .crash import Place, crash_point
from .definitions import canonical
from .errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Reason
from .store import blobs, idempotency, samplers, targets
from .store.records import SamplerRecord, TargetRecord, TargetState

__all__ = ["find_sampler", "find_target", "refuse_if_needed", "register", "remove_target"]

_METHOD = "CreateTarget"


async def register(
    core: Core, definition: target_service_pb2.TargetDefinition, target_id: str, request_id: str
) -> TargetRecord:
    """The target of that id and definition, new in state CHECKING or as it was registered before.

    An empty id is replaced by a new one. Raises InvalidArgument, NotFound (blobs), AlreadyExists.
    """
    if target_id:
        names.check_id(target_id, "target_id")
    sampler = await _resolve(core, definition)

    def blob_size(sha256: str) -> int | None:
        ours = sampler is not None and sha256 == sampler.digest
        return core.artefacts.hold(sha256) if ours else _bring_blob(core, sha256)

    def prepare() -> TargetRecord:
        found = canonical(definition, core.artefacts, core.config.limits, blob_size)
        source = found.source if sampler is None else _source(sampler)
        return TargetRecord(
            name=target_id or names.new_id("target"), uid=str(uuid.uuid4()), state=TargetState.CHECKING,
            digest=found.digest, dim=found.dim, source=source, create_time=core.clock(), sites=found.sites,
        )  # fmt: skip

    target = await asyncio.to_thread(prepare)
    crash_point(Place.TARGET_CONTENT)
    request_sha256 = hashlib.sha256(f"{target_id}\0{target.digest}".encode()).hexdigest()
    return await core.store.write(_add, target, request_id, request_sha256)


async def _resolve(core: Core, definition: target_service_pb2.TargetDefinition) -> SamplerRecord | None:
    """The sampler that a definition names; its file stands in the definition afterwards, in place of the name.

    Raises NotFound, or InvalidArgument (SAMPLER_UNSUITED) where it has no density.
    """
    if definition.model.WhichOneof("source") != "sampler":
        return None
    path = "definition.model.sampler"
    sampler = await core.store.read(find_sampler, names.parse(names.SAMPLERS, definition.model.sampler, path))
    if not isinstance(sampler.report, DenoisingReport):
        raise InvalidArgument.at(
            Reason.SAMPLER_UNSUITED, path, f"samplers/{sampler.name} samples a target; expected a model of data"
        )
    if sampler.report.discrete:
        raise InvalidArgument.at(
            Reason.SAMPLER_UNSUITED, path,
            f"samplers/{sampler.name} models data on levels, which have no density; train one with head continuous",
        )  # fmt: skip
    definition.model.blob = f"{names.BLOBS}/{sampler.digest}"
    return sampler


def find_target(connection: Connection, name: str) -> TargetRecord:
    """The target of that id. Raises NotFound."""
    target = targets.find(connection, TENANT, name)
    if target is None:
        resource = f"targets/{name}"
        raise NotFound(Reason.TARGET_NOT_FOUND, f"there is no target {resource}", resource=resource)
    return target


def _source(model: SamplerRecord) -> str:
    data = f"datasets/{model.dataset}" if model.dataset else "data"
    return f"model of {data}, samplers/{model.name}"


def find_sampler(connection: Connection, name: str) -> SamplerRecord:
    """The sampler of that id. Raises NotFound."""
    sampler = samplers.find(connection, TENANT, name)
    if sampler is None:
        resource = f"samplers/{name}"
        raise NotFound(Reason.SAMPLER_NOT_FOUND, f"there is no sampler {resource}", resource=resource)
    return sampler


def remove_target(connection: Connection, name: str) -> None:
    """Forget a target. Raises NotFound, or FailedPrecondition (RESOURCE_IN_USE) naming who needs it."""
    find_target(connection, name)
    users = targets.users(connection, TENANT, name)
    refuse_if_needed(f"targets/{name}", users)
    targets.remove(connection, TENANT, name)


def refuse_if_needed(resource: str, users: Sequence[str]) -> None:
    """Raises FailedPrecondition (RESOURCE_IN_USE) naming who needs it, if anybody does."""
    if users:
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""
        raise FailedPrecondition(
            Reason.RESOURCE_IN_USE,
            f"{resource} is needed by {', '.join(users[:3])}{more}; cancel those jobs, delete those samplers first",
        )


def _bring_blob(core: Core, sha256: str) -> int | None:
    """Bytes of an uploaded blob, None if there is none; its content is among the artefacts then."""
    size = core.store.read_now(blobs.size, TENANT, sha256)
    if size is None:
        return None
    with suppress(CorruptArtefact):
        core.uploads.whole.bring(sha256)
    try:
        core.artefacts.adopt(core.uploads.whole.path(sha256), sha256)
    except FileNotFoundError:  # Taken by a data set since, or never an upload.
        return core.artefacts.hold(sha256)
    return size


def _add(connection: Connection, target: TargetRecord, request_id: str, request_sha256: str) -> TargetRecord:
    known = idempotency.recall(connection, TENANT, _METHOD, request_id, request_sha256)
    if known is not None:
        return find_target(connection, known)
    present = targets.find(connection, TENANT, target.name)
    if present is not None and present.digest != target.digest:
        resource = f"targets/{target.name}"
        raise AlreadyExists(
            Reason.TARGET_NAME_TAKEN,
            f"{resource} exists with other content (digest {present.digest[:12]}, this one has {target.digest[:12]}); "
            "choose another name or delete that target",
            resource=resource,
        )
    if present is None:
        targets.add(connection, TENANT, target)
    idempotency.remember(connection, TENANT, _METHOD, request_id, request_sha256, target.name, target.create_time)
    return present or target
