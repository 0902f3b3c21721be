"""One attempt at a training job: a worker process from its start to its end, and what that does to the job."""

import asyncio
import logging
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from pathlib import Path

from google.rpc import code_pb2

from gephyra.protos import worker_pb2

from . import convert, jobs
from .commands import training_command, training_spec
from .config import TENANT
from .core import Core
from .crash import Place, crash_point
from .denoising import from_denoising_report
from .errors import Failure, Reason, status_failure
from .executor import Exit, Worker, receive_within
from .handing import keep_sampler
from .lease import keep_lease
from .reports import from_report
from .slots import workers_of
from .store import jobs as job_store
from .store.records import AnyMetrics, JobRecord, JobState
from .team import start_team
from .tracing import record_work
from .workspace import sampler_path, settle, take_over, work_folder

__all__ = ["Attempt", "Stop", "Superseded"]

logger = logging.getLogger(__name__)

_Event = worker_pb2.WorkerEvent


class Stop(Enum):
    """Why a worker is asked to stop."""

    CANCEL = "the job was cancelled"
    PAUSE = "the job is to pause"
    DRAIN = "the server is stopping"


class Superseded(Exception):
    """The job is at another attempt, or has ended: this one is not to write any more."""


class Attempt:
    """Attempt `job.attempt` of a job that was just claimed. `run` once; `stop` at any time."""

    def __init__(self, core: Core, job: JobRecord, threads: int, environment: Mapping[str, str] | None = None) -> None:
        self.job = job
        self._environment = dict(environment or {})
        self._core = core
        self._threads = threads
        self._folder = core.job_folder(job.name)
        self._stop: Stop | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[Worker] | None = None
        self._worker: Worker | None = None
        self._ready = False
        self._silent = False
        self._lost = ""
        self._metrics: AnyMetrics | None = None
        # By the loop's clock: that of the wall may be set back.
        self._metrics_due = 0.0
        self._stage = ""
        self._handlers: Mapping[str, Callable[[_Event], Awaitable[bool]]] = {
            "ready": self._on_ready,
            "metrics": self._on_metrics,
            "checkpoint": self._on_checkpoint,
            "log": self._on_log,
            "trained": self._on_trained,
            "failed": self._on_failed,
            "stopped": self._on_stopped,
        }

    @property
    def workers(self) -> int:
        """How many processes take part in it."""
        return workers_of(self.job.settings)

    async def run(self, traceparent: str = "") -> None:
        """Start the worker, follow it to its end, and leave the job QUEUED, PAUSED or in a terminal state."""
        try:
            work = await asyncio.to_thread(take_over, self._folder, self.job.attempt)
        except FileExistsError as error:
            raise Superseded from error
        holding = asyncio.create_task(self._hold())
        worker = None
        try:
            worker = await self._start()
            if worker is None:
                await self._settle_unstarted()
                return
            self._worker = worker
            if self._stop is not None or self._lost:
                worker.kill()
            crash_point(Place.WORKER_STARTED)
            command = await training_command(self._core, self.job, work, self._threads)
            command.traceparent = traceparent
            await worker.send(command)
            if not await self._follow(worker, command):
                await self._on_death(worker, await worker.close(seconds=1.0))
        finally:
            holding.cancel()
            if self._stopping is not None:
                self._stopping.cancel()
            if worker is not None:
                await worker.close(seconds=1.0)

    def stop(self, reason: Stop) -> None:
        """Ask the worker to stop, in ways it cannot refuse in the end. A cancel overrides the rest: it is quicker."""
        if self._stop is None or (reason is Stop.CANCEL and self._stop is not reason):
            self._stop = reason
            if self._starting is not None:
                self._starting.cancel()
            if self._worker is not None:
                self._begin_stopping()

    def kill(self) -> None:
        """End the worker now."""
        if self._worker is not None:
            self._worker.kill()

    async def _hold(self) -> None:
        self._lost = await keep_lease(self._core, self.job)
        logger.warning("attempt %d of %s is given up: %s", self.job.attempt, self.job.name, self._lost)
        if self._starting is not None:
            self._starting.cancel()
        self.kill()

    async def _start(self) -> Worker | None:
        """The worker; None if the attempt was to end while there was no place for one yet."""
        if self._stop is not None or self._lost:
            return None
        core, work = self._core, work_folder(self._folder, self.job.attempt)
        spec = training_spec(core, self.job, self._folder, self._threads, self._environment)
        self._starting = asyncio.create_task(start_team(core.executor, core.assembling, spec, self.workers, work))
        try:
            await asyncio.wait([self._starting])
            return None if self._starting.cancelled() else self._starting.result()
        finally:
            self._starting.cancel()
            self._starting = None

    def _begin_stopping(self) -> None:
        if self._stopping is not None:
            self._stopping.cancel()
        self._stopping = asyncio.create_task(self._escalate())

    async def _escalate(self) -> None:
        worker, timings = self._worker, self._core.config.timings
        assert worker is not None, "begins after the start of the worker"
        if not self._ready:
            # Still at its imports: it has nothing to save, and would hear of the stop only after them.
            worker.kill()
            return
        await worker.send(worker_pb2.WorkerCommand(id=1, stop=worker_pb2.WorkerCommand.Stop(command_id=1)))
        await asyncio.sleep(timings.cancel_message if self._stop is Stop.CANCEL else timings.drain)
        worker.terminate()
        await asyncio.sleep(timings.cancel_terminate)
        worker.kill()

    def _sampler_path(self) -> Path:
        return sampler_path(work_folder(self._folder, self.job.attempt))

    async def _follow(self, worker: Worker, command: worker_pb2.WorkerCommand) -> bool:
        """True when an event ended the attempt, False when the worker is gone, or silent, without one."""
        try:
            while (event := await receive_within(worker, self._core.config.timings.lease)) is not None:
                handler = self._handlers.get(event.WhichOneof("event") or "")
                if handler is not None and await handler(event):
                    record_work(self._core.tracing, command, event)
                    return True
        except TimeoutError:
            self._silent = True
            worker.kill()
        return False

    async def _on_ready(self, event: _Event) -> bool:
        self._ready, now = True, self._core.clock()
        start = {} if self.job.start_time is not None else {"start_time": now}
        await self._core.store.write(jobs.move, self.job, (JobState.PENDING,), JobState.RUNNING, now, **start)
        self._publish()
        return False

    async def _on_metrics(self, event: _Event) -> bool:
        self._metrics = convert.from_metrics(event.metrics)
        if asyncio.get_running_loop().time() >= self._metrics_due or self._metrics.stage != self._stage:
            await self._flush_metrics()
        return False

    async def _on_checkpoint(self, event: _Event) -> bool:
        self._core.metrics.checkpoint_seconds.observe(event.checkpoint.seconds)
        await self._record(convert.checkpoint_event(event.checkpoint, self.job.attempt, self._core.clock()))
        crash_point(Place.CHECKPOINT_STORED)
        return False

    async def _on_log(self, event: _Event) -> bool:
        await self._record(convert.log_event(event.log, self.job.attempt, self._core.clock()))
        return False

    async def _on_trained(self, event: _Event) -> bool:
        await self._flush_metrics()
        digest = await keep_sampler(self._core, self._sampler_path(), lambda: self._stop is not None)
        crash_point(Place.SAMPLER_CONTENT)
        sampler, trained = f"sampler-{secrets.token_hex(6)}", event.trained
        of_data = trained.HasField("denoising_report")
        report = from_denoising_report(trained.denoising_report) if of_data else from_report(trained.report)
        if not await self._core.store.write(
            jobs.succeed, self.job, sampler, str(uuid.uuid4()), digest, report, self._core.clock()
        ):
            raise RuntimeError("the job or its target was changed by someone else")
        await self._ended(JobState.SUCCEEDED)
        return True

    async def _on_failed(self, event: _Event) -> bool:
        await self._flush_metrics()
        await self._fail(status_failure(event.failed))
        return True

    async def _on_stopped(self, event: _Event) -> bool:
        await self._flush_metrics()
        await self._put_back()
        return True

    async def _on_death(self, worker: Worker, end: Exit) -> None:
        await self._flush_metrics()
        if self._stop is not None:
            await self._put_back()
            return
        ended = self._lost or str(end)
        if self._silent:
            ended = f"killed after it had given no sign of life for {self._core.config.timings.lease:g} s"
        tail = await asyncio.to_thread(worker.log_tail)
        logger.warning("worker of %s, attempt %d: %s", self.job.name, self.job.attempt, ended)
        text = f"the worker died ({ended})" + (f"; its last lines:\n{tail}" if tail else "")
        await self._record(convert.log_event(text, self.job.attempt, self._core.clock()))
        await self._settle_death(ended, own=not (end.lost or self._lost))

    async def _settle_unstarted(self) -> None:
        if self._stop is not None:
            await self._put_back()
        else:
            await self._settle_death(self._lost, own=False)

    async def _settle_death(self, ended: str, own: bool) -> None:
        """Begin again, or give up after too many deaths that were the job's own doing."""
        crashes, most = self.job.crashes + own, self._core.config.max_worker_restarts
        if crashes <= most:
            await self._put_back(crashes=crashes)
            return
        message = f"the worker died {crashes} times, at last {ended}; the job's log has its last lines"
        failure = Failure(code_pb2.UNAVAILABLE, Reason.WORKER_DIED, message)
        await self._fail(failure, crashes=crashes)

    async def _fail(self, failure: Failure, **changes: int) -> None:
        # What would be cleaned may be another attempt's by now.
        if not await self._core.store.write(jobs.fail, self.job, failure, self._core.clock(), **changes):
            raise Superseded
        await self._ended(JobState.FAILED)

    async def _put_back(self, **changes: int) -> None:
        """What was asked of the job last decides, also where its worker died by itself."""
        state = await self._core.store.write(jobs.put_back, self.job, self._core.clock(), **changes)
        if state is JobState.CANCELLED:
            await self._ended(state)
        self._publish()

    async def _flush_metrics(self) -> None:
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            self._stage = metrics.stage
            self._metrics_due = asyncio.get_running_loop().time() + self._core.config.timings.metrics
            await self._record(convert.metrics_event(metrics, self.job.attempt, self._core.clock()), metrics)

    async def _record(self, event: bytes, metrics: AnyMetrics | None = None) -> None:
        if not await self._core.store.write(job_store.record, TENANT, self.job.name, self.job.attempt, event, metrics):
            raise Superseded
        crash_point(Place.EVENT_STORED)
        self._publish()

    async def _ended(self, state: JobState) -> None:
        """A terminal state was reached: tell watchers, drop what only a further attempt would need."""
        crash_point(Place.JOB_ENDED)
        self._publish()
        await asyncio.to_thread(settle, self._folder, state)

    def _publish(self) -> None:
        self._core.bus.publish(self.job.name)
