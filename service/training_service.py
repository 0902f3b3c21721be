"""TrainingService: jobs that train samplers of targets and models of data sets."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Connection

from gephyra.protos import training_service_pb2 as pb
from gephyra.protos import training_service_pb2_grpc as pb_grpc
from gephyra.samplers.settings import TrainingSettings

from . import jobs, names
from .config import TENANT
from .convert import to_job
from .core import Core, request_digest
from .crash import Place, crash_point
from .dataset_service import find_dataset
from .denoising import from_denoising
from .errors import InvalidArgument, Reason
from .paging import page_size
from .sampler_service import find_sampler
from .settings import from_config
from .store import jobs as job_store
from .store.records import JobRecord, JobState, SamplerRecord
from .supervisor import Supervisor
from .watch import watch

__all__ = ["TrainingService"]


class TrainingService(pb_grpc.TrainingServiceServicer):
    """Long work: trains a sampler on a target, or a model of a data set."""

    def __init__(self, core: Core, supervisor: Supervisor) -> None:
        self._core = core
        self._supervisor = supervisor

    async def CreateTrainingJob(self, request: pb.CreateTrainingJobRequest, context: Any) -> pb.TrainingJob:
        self._core.refuse_if_stopping()
        names.check_request_id(request.request_id)
        job = await self._core.store.write(_create, request, self._core.clock())
        crash_point(Place.JOB_STORED)
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
        return to_job(job)

    async def WatchTrainingJob(
        self, request: pb.WatchTrainingJobRequest, context: Any
    ) -> AsyncIterator[pb.WatchTrainingJobResponse]:
        name = names.parse(names.JOBS, request.name, "name")
        async for event in watch(self._core, name, request.after_sequence):
            yield pb.WatchTrainingJobResponse(event=event)


def _create(connection: Connection, request: pb.CreateTrainingJobRequest, now: int) -> JobRecord:
    """The new job, or the one that the same request made before: what it starts from may be gone by now."""
    digest = request_digest(request)
    known = jobs.recall(connection, request.request_id, digest)
    if known is not None:
        return known
    make = _of_dataset if request.dataset or request.HasField("denoising") else _of_target
    return jobs.create(connection, make(connection, request, now), request.request_id, digest)


def _of_dataset(connection: Connection, request: pb.CreateTrainingJobRequest, now: int) -> JobRecord:
    """A job that models a data set. Raises NotFound, InvalidArgument."""
    if request.target or request.HasField("config"):
        field = "target" if request.target else "config"
        raise InvalidArgument.at(
            Reason.INCONSISTENT_SETTINGS, field, "expected a target with config, or a data set with denoising; got both"
        )
    dataset = find_dataset(connection, names.parse(names.DATASETS, request.dataset, "dataset"))
    return JobRecord(
        name=names.new_id("job"), uid=str(uuid.uuid4()), target="", target_digest="",
        settings=from_denoising(request.denoising), state=JobState.QUEUED, create_time=now,
        dataset=dataset.name, dataset_digest=dataset.digest,
    )  # fmt: skip


def _of_target(connection: Connection, request: pb.CreateTrainingJobRequest, now: int) -> JobRecord:
    """A job that samples a target. Raises NotFound, InvalidArgument."""
    target = names.parse(names.TARGETS, request.target, "target")
    start = _start(connection, request.config.start, target) if request.config.start else None
    # `_start` lets no model of data through.
    settings = start.settings if start and isinstance(start.settings, TrainingSettings) else None
    return JobRecord(
        name=names.new_id("job"), uid=str(uuid.uuid4()), target=target, target_digest="",
        settings=from_config(request.config, settings), state=JobState.QUEUED,
        create_time=now, start=start.name if start else "", start_digest=start.digest if start else "",
    )  # fmt: skip


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
            + (f"{names.TARGETS}/{start.target}" if start.target else f"{names.DATASETS}/{start.dataset}"),
        )  # fmt: skip
    return start
