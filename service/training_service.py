"""TrainingService: jobs that train samplers."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

from gephyra.protos import training_service_pb2 as pb
from gephyra.protos import training_service_pb2_grpc as pb_grpc

from . import jobs, names
from .config import TENANT
from .convert import to_job
from .core import Core, request_digest
from .paging import page_size
from .settings import from_config
from .store import jobs as job_store
from .store.records import JobRecord, JobState
from .supervisor import Supervisor
from .watch import watch

__all__ = ["TrainingService"]


class TrainingService(pb_grpc.TrainingServiceServicer):
    """Long work: trains a sampler on a target."""

    def __init__(self, core: Core, supervisor: Supervisor) -> None:
        self._core = core
        self._supervisor = supervisor

    async def CreateTrainingJob(self, request: pb.CreateTrainingJobRequest, context: Any) -> pb.TrainingJob:
        self._core.refuse_if_stopping()
        request_id = names.check_request_id(request.request_id)
        job = JobRecord(
            name=names.new_id("job"), uid=str(uuid.uuid4()),
            target=names.parse(names.TARGETS, request.target, "target"), target_digest="",
            settings=from_config(request.config), state=JobState.QUEUED, create_time=self._core.clock(),
        )  # fmt: skip
        job = await self._core.store.write(jobs.create, job, request_id, request_digest(request))
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
