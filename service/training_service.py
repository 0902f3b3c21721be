"""TrainingService: jobs that train samplers of targets and models of data sets."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.empty_pb2 import Empty
from sqlalchemy import Connection

from gephyra.protos import training_service_pb2 as pb
from gephyra.protos import training_service_pb2_grpc as pb_grpc
from gephyra.samplers.denoising.settings import DenoisingSettings, Head
from gephyra.samplers.settings import TrainingSettings

from . import jobs, names
from .config import TENANT, ServerConfig
from .convert import to_job
from .core import Core, request_digest
from .crash import Place, crash_point
from .dataset_service import find_dataset
from .denoising import from_denoising
from .errors import InvalidArgument, Reason
from .following import remember_call
from .paging import page_size
from .registration import find_sampler
from .retry import retry
from .settings import from_config
from .slots import refuse_if_never
from .store import jobs as job_store
from .store.records import DatasetRecord, JobRecord, JobState, SamplerRecord
from .supervisor import Supervisor
from .tracing import CURRENT
from .watch import watch
from .workspace import forget, settle

__all__ = ["TrainingService"]


class TrainingService(pb_grpc.TrainingServiceServicer):
    """Long work: trains a sampler on a target, or a model of a data set."""

    def __init__(self, core: Core, supervisor: Supervisor) -> None:
        self._core = core
        self._supervisor = supervisor

    async def CreateTrainingJob(self, request: pb.CreateTrainingJobRequest, context: Any) -> pb.TrainingJob:
        self._core.refuse_if_stopping()
        names.check_request_id(request.request_id)
        job = await self._core.store.write(_create, request, self._core.clock(), self._core.config)
        crash_point(Place.JOB_STORED)
        await remember_call(self._core, job.name, CURRENT.get())
        self._supervisor.wake()
        return to_job(job)

    async def GetTrainingJob(self, request: pb.GetTrainingJobRequest, context: Any) -> pb.TrainingJob:
        return to_job(await self._core.store.read(jobs.find, names.parse(names.JOBS, request.name, "name")))

    async def ListTrainingJobs(self, request: pb.ListTrainingJobsRequest, context: Any) -> pb.ListTrainingJobsResponse:
        size = page_size(request.page_size, self._core.config.limits)
        found, token = await self._core.store.read(job_store.page, TENANT, size, request.page_token)
        return pb.ListTrainingJobsResponse(training_jobs=[to_job(job) for job in found], next_page_token=token)

    async def CancelTrainingJob(self, request: pb.CancelTrainingJobRequest, context: Any) -> pb.TrainingJob:
        name, request_id = names.parse(names.JOBS, request.name, "name"), names.check_request_id(request.request_id)
        now = self._core.clock()
        job = await self._core.store.write(jobs.cancel, name, request_id, request_digest(request), now)
        crash_point(Place.CANCEL_STORED)
        self._core.bus.publish(name)
        if job.state is JobState.CANCELLING:
            self._supervisor.cancel(name)
        # One that was paused, or waited again, has checkpoints and no attempt that would clean up.
        await asyncio.to_thread(settle, self._core.job_folder(name), job.state)
        return to_job(job)

    async def PauseTrainingJob(self, request: pb.PauseTrainingJobRequest, context: Any) -> pb.TrainingJob:
        name, request_id = names.parse(names.JOBS, request.name, "name"), names.check_request_id(request.request_id)
        now = self._core.clock()
        job = await self._core.store.write(jobs.pause, name, request_id, request_digest(request), now)
        crash_point(Place.PAUSE_STORED)
        self._core.bus.publish(name)
        if job.pausing:
            self._supervisor.pause(name)
        return to_job(job)

    async def ResumeTrainingJob(self, request: pb.ResumeTrainingJobRequest, context: Any) -> pb.TrainingJob:
        self._core.refuse_if_stopping()
        name, request_id = names.parse(names.JOBS, request.name, "name"), names.check_request_id(request.request_id)
        digest, now, limits = request_digest(request), self._core.clock(), self._core.config.limits
        job = await self._core.store.write(jobs.resume, name, request_id, digest, now, limits)
        self._core.bus.publish(name)
        self._supervisor.wake()
        return to_job(job)

    async def RetryTrainingJob(self, request: pb.RetryTrainingJobRequest, context: Any) -> pb.TrainingJob:
        self._core.refuse_if_stopping()
        name, request_id = names.parse(names.JOBS, request.name, "name"), names.check_request_id(request.request_id)
        job = await retry(self._core, name, request_id, request_digest(request))
        crash_point(Place.JOB_STORED)
        await remember_call(self._core, job.name, CURRENT.get())
        self._supervisor.wake()
        return to_job(job)

    async def DeleteTrainingJob(self, request: pb.DeleteTrainingJobRequest, context: Any) -> Empty:
        name, request_id = names.parse(names.JOBS, request.name, "name"), names.check_request_id(request.request_id)
        await self._core.store.write(jobs.remove, name, request_id, request_digest(request), self._core.clock())
        crash_point(Place.JOB_DELETED)
        await asyncio.to_thread(forget, self._core.job_folder(name))
        return Empty()

    async def WatchTrainingJob(
        self, request: pb.WatchTrainingJobRequest, context: Any
    ) -> AsyncIterator[pb.WatchTrainingJobResponse]:
        name = names.parse(names.JOBS, request.name, "name")
        async for event in watch(self._core, name, request.after_sequence):
            yield pb.WatchTrainingJobResponse(event=event)


def _create(
    connection: Connection, request: pb.CreateTrainingJobRequest, now: int, config: ServerConfig | None = None
) -> JobRecord:
    """The new job, or the one that the same request made before: what it starts from may be gone by now.

    Without a configuration every job has room.
    """
    digest = request_digest(request)
    known = jobs.recall(connection, request.request_id, digest)
    if known is not None:
        return known
    make = _of_dataset if request.dataset or request.HasField("denoising") else _of_target
    job = make(connection, request, now)
    if config is not None:
        refuse_if_never(job.settings, config)
    return jobs.create(connection, job, request.request_id, digest, config.limits if config else None)


def _of_dataset(connection: Connection, request: pb.CreateTrainingJobRequest, now: int) -> JobRecord:
    """A job that models a data set. Raises NotFound, InvalidArgument."""
    if request.target or request.HasField("config"):
        field = "target" if request.target else "config"
        raise InvalidArgument.at(
            Reason.INCONSISTENT_SETTINGS, field, "expected a target with config, or a data set with denoising; got both"
        )
    dataset = find_dataset(connection, names.parse(names.DATASETS, request.dataset, "dataset"))
    settings = from_denoising(request.denoising)
    known = request.denoising.score_of
    return JobRecord(
        name=names.new_id("job"), uid=str(uuid.uuid4()), target=_score_of(connection, known, dataset, settings),
        target_digest="", settings=settings, state=JobState.QUEUED, create_time=now, dataset=dataset.name,
        dataset_digest=dataset.digest,
    )  # fmt: skip


def _score_of(connection: Connection, name: str, dataset: DatasetRecord, settings: DenoisingSettings) -> str:
    """Id of the target of that name, of which the rows are draws; empty for none. Raises NotFound, InvalidArgument."""
    if not name:
        return ""
    field = "denoising.score_of"
    target = jobs.ready_target(connection, names.parse(names.TARGETS, name, field))
    if settings.head is Head.LEVELS:
        raise InvalidArgument.at(
            Reason.INCONSISTENT_SETTINGS, field, "expected no target with head levels: levels have no density"
        )
    if target.dim != dataset.columns:
        raise InvalidArgument.at(
            Reason.INCONSISTENT_SETTINGS, field,
            f"expected a target of which the rows are draws, so of dimension {dataset.columns}, the number of columns; "
            f"{name} has dimension {target.dim}",
        )  # fmt: skip
    return target.name


def _of_target(connection: Connection, request: pb.CreateTrainingJobRequest, now: int) -> JobRecord:
    """A job that samples a target. Raises NotFound, InvalidArgument."""
    target = names.parse(names.TARGETS, request.target, "target")
    start = _start(connection, request.config.start, target) if request.config.start else None
    samples = _samples(connection, request.config.samples, target) if request.config.samples else None
    # `_start` lets no model of data through.
    settings = start.settings if start and isinstance(start.settings, TrainingSettings) else None
    return JobRecord(
        name=names.new_id("job"), uid=str(uuid.uuid4()), target=target, target_digest="",
        settings=from_config(request.config, settings), state=JobState.QUEUED,
        create_time=now, start=start.name if start else "", start_digest=start.digest if start else "",
        dataset=samples.name if samples else "", dataset_digest=samples.digest if samples else "",
    )  # fmt: skip


def _samples(connection: Connection, name: str, target: str) -> DatasetRecord:
    """The data set with draws of the target. Raises NotFound, or InvalidArgument for one of another width."""
    samples = find_dataset(connection, names.parse(names.DATASETS, name, "config.samples"))
    dim = jobs.ready_target(connection, target).dim
    if samples.columns != dim:
        raise InvalidArgument.at(
            Reason.INCONSISTENT_SETTINGS, "config.samples",
            f"expected draws of targets/{target} with {dim} columns, one for each unconstrained coordinate; "
            f"{name} has {samples.columns}",
        )  # fmt: skip
    return samples


def _subject(sampler: SamplerRecord) -> str:
    if not sampler.of_data:
        return f"{names.TARGETS}/{sampler.target}"
    return f"{names.DATASETS}/{sampler.dataset}" if sampler.dataset else "a data set that is not here"


def _start(connection: Connection, name: str, target: str) -> SamplerRecord:
    """The sampler to go on from. Raises NotFound, or InvalidArgument for one that cannot be gone on from.

    Only the same content will do as its target, under whatever name: its coordinates and the preconditioner's numbers,
    which a report compares with, were found on it.
    """
    start = find_sampler(connection, names.parse(names.SAMPLERS, name, "config.start"))
    if start.target_digest != jobs.ready_target(connection, target).digest:
        raise InvalidArgument.at(
            Reason.INCONSISTENT_SETTINGS, "config.start",
            f"expected a sampler of targets/{target}; {name} was trained on other content, "
            + _subject(start),
        )  # fmt: skip
    return start
