"""A job that ended without a sampler is begun anew as another job, from the checkpoints that it left."""

import asyncio
import uuid

from sqlalchemy import Connection

from . import jobs, names
from .config import TENANT, ServerConfig
from .core import Core
from .crash import Place, crash_point
from .dataset_service import find_dataset
from .errors import FailedPrecondition, Reason, ServiceError, Unavailable
from .registration import find_sampler
from .slots import refuse_if_never
from .store import jobs as job_store
from .store.records import JobRecord, JobState
from .transitions import Order, state_after
from .workspace import forget, inherit

__all__ = ["retry"]


async def retry(core: Core, name: str, request_id: str, request_sha256: str) -> JobRecord:
    """The new job, or the one that the same request made before.

    The checkpoints are there before the job is. Raises NotFound, FailedPrecondition, ResourceExhausted.
    """
    old = await core.store.read(job_store.find, TENANT, name)
    fresh = names.new_id("job")
    folder = core.job_folder(fresh)
    if old is not None and old.state is JobState.FAILED:
        await asyncio.to_thread(inherit, core.job_folder(name), folder)
    crash_point(Place.RETRY_COPIED)
    try:
        made = await core.store.write(_add, name, fresh, request_id, request_sha256, core.config, core.clock())
    except ServiceError as error:
        # Whether a database that went away has the job is not known; the next start does.
        if not isinstance(error, Unavailable):
            await asyncio.to_thread(forget, folder)
        raise
    if made.name != fresh:
        await asyncio.to_thread(forget, folder)
    return made


def _add(
    connection: Connection, name: str, fresh: str, request_id: str, request_sha256: str, config: ServerConfig, now: int
) -> JobRecord:
    known = jobs.recall(connection, request_id, request_sha256, Order.RETRY.method)
    if known is not None:
        return known
    old = jobs.find(connection, name)
    state_after(Order.RETRY, old)
    refuse_if_never(old.settings, config)
    _refuse_if_changed(connection, old)
    job = JobRecord(
        name=fresh, uid=str(uuid.uuid4()), target=old.target, target_digest=old.target_digest, settings=old.settings,
        state=JobState.QUEUED, create_time=now, start=old.start, start_digest=old.start_digest, dataset=old.dataset,
        dataset_digest=old.dataset_digest, retry_of=old.name,
    )  # fmt: skip
    return jobs.add(connection, job, config.limits, Order.RETRY.method, request_id, request_sha256)


def _refuse_if_changed(connection: Connection, old: JobRecord) -> None:
    """Raises NotFound for what it was about and is gone, FailedPrecondition (SUBJECT_CHANGED) for other content."""
    found: list[tuple[str, str, str]] = []
    if old.target:
        target = jobs.ready_target(connection, old.target)
        found.append((f"{names.TARGETS}/{target.name}", target.digest, old.target_digest))
    if old.dataset:
        dataset = find_dataset(connection, old.dataset)
        found.append((f"{names.DATASETS}/{dataset.name}", dataset.digest, old.dataset_digest))
    if old.start:
        start = find_sampler(connection, old.start)
        found.append((f"{names.SAMPLERS}/{start.name}", start.digest, old.start_digest))
    for resource, digest, before in found:
        if digest != before:
            raise FailedPrecondition(
                Reason.SUBJECT_CHANGED,
                f"{resource} has other content than when {names.JOBS}/{old.name} was made; make a new job of it",
            )
