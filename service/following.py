"""An attempt at a job as metrics and traces see it. The call that made the job, and its attempts, are one trace."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .config import TENANT
from .core import Core
from .store import jobs as job_store
from .store.records import JobRecord, JobState
from .tracing import Attributes, Role

__all__ = ["follow_attempt", "remember_call"]

_FILE = "traceparent"


async def remember_call(core: Core, job: str, traceparent: str) -> None:
    """Keep in the job's folder which call made it, for attempts after a restart too; nothing where nobody traces."""
    if traceparent:
        await asyncio.to_thread(_keep, core, job, traceparent)


@asynccontextmanager
async def follow_attempt(core: Core, job: JobRecord) -> AsyncIterator[str]:
    """Count and trace an attempt that was just claimed; gives the `traceparent` for its worker."""
    parent = await asyncio.to_thread(_kept, core, job.name)
    began = core.clock()
    attributes: Attributes = {"gephyra.job": job.name, "gephyra.attempt": job.attempt}
    core.metrics.attempt_began(job, began)
    if job.attempt == 1:
        core.tracing.record("queue", parent, job.create_time * 1000, began * 1000, attributes)
    span = core.tracing.begin("attempt", Role.CONSUMER, parent, attributes)
    state, failure = JobState.FAILED, ""
    try:
        yield span.traceparent
        state = await _state(core, job.name)
    except BaseException as error:
        failure = type(error).__name__
        raise
    finally:
        core.metrics.attempt_ended(state)
        span.end(failure or ("failed" if state is JobState.FAILED else ""))


async def _state(core: Core, name: str) -> JobState:
    """Of a job whose attempt ended; a store that cannot be read is the concern of others."""
    try:
        found = await core.store.read(job_store.find, TENANT, name)
    except Exception:
        return JobState.FAILED
    return found.state if found is not None else JobState.FAILED


def _keep(core: Core, job: str, traceparent: str) -> None:
    folder = core.job_folder(job)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FILE).write_text(traceparent)


def _kept(core: Core, job: str) -> str:
    try:
        return (core.job_folder(job) / _FILE).read_text()
    except OSError:
        return ""
