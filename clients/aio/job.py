"""Training jobs: watch, wait, pause, resume, cancel, retry, delete."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Self

from gephyra.protos import sampler_service_pb2, training_service_pb2

from ..channel import Connection
from ..errors import DataLoss, DeadlineExceeded, GephyraError, JobCancelled, JobFailed, OutOfRange, Unavailable
from ..events import Event, event_from_message
from ..facts import JobFacts
from ..progress import progress_display
from ..request import new_request_id
from ..resume import Patience
from ..status import error_from_status
from ..words import JobState
from .sampler import AsyncSamplerHandle

__all__ = ["AsyncJob"]

logger = logging.getLogger(__name__)

# The server sends a bookmark every 15 s: longer silence is a broken stream.
_SILENCE_SECONDS = 45.0


class AsyncJob(JobFacts):
    """A training job on the server. It goes on whether or not anybody watches."""

    def __init__(self, connection: Connection, message: training_service_pb2.TrainingJob) -> None:
        self._connection = connection
        self._message = message

    @property
    def message(self) -> training_service_pb2.TrainingJob:
        """The server's record, as it came last."""
        return self._message

    @property
    def embedded(self) -> bool:
        """True if the job runs on a server that ends with its client."""
        return self._connection.host.embedded

    @property
    def reattach_command(self) -> str:
        """The shell command that watches the job again."""
        return f"gephyra watch {self.name} --server {self._connection.address}"

    async def refresh(self) -> Self:
        """Read the record again."""
        request = training_service_pb2.GetTrainingJobRequest(name=self.name)
        self._message = await self._connection.unary(lambda stubs: stubs.training.GetTrainingJob, request)
        return self

    async def watch(self, after_sequence: int = 0) -> AsyncGenerator[Event, None]:
        """All events after `after_sequence`, past ones first, until the job is in a final state.

        Each event comes once, in order; a watch that breaks is resumed where it broke. Of metrics in a row a reader
        that is late gets the newest, see `Event.coalesced`. Events that the server does not keep any more are left
        out, with a warning in the log.

        Raises DataLoss if an event is missing or comes twice.
        """
        seen, patience = after_sequence, Patience(self._connection.patience)
        while True:
            try:
                async with aclosing(self._stream(seen)) as events:
                    async for sequence, event in events:
                        seen = sequence
                        if event is not None:
                            yield event
                if (await self.refresh()).state.final:
                    return
                raise Unavailable(f"the watch of {self.name} ended before the job")
            except OutOfRange as error:
                oldest = _oldest(error, seen)
                logger.warning("the events %d to %d of %s are not kept any more", seen + 1, oldest - 1, self.name)
                seen = oldest - 1
            except GephyraError as error:
                await patience.wait(error, seen)

    async def result(self, *, progress: bool = True, timeout: float | None = None) -> AsyncSamplerHandle:
        """Wait for the job to end; the sampler it made. One that is paused is waited for too, until it is resumed.

        Args:
            progress: Show a bar, where there is a terminal or a notebook to show it.
            timeout: Seconds to wait at most; None waits for ever. The job goes on after a timeout.

        Raises:
            JobFailed: with the reason of the failure.
            JobCancelled: if it was cancelled.
            DeadlineExceeded: if it is still running after `timeout`.
        """
        with progress_display(self.name, enabled=progress) as display:
            async for event in self.follow(timeout):
                display.update(event)
        return await self.outcome()

    async def follow(self, timeout: float | None = None) -> AsyncGenerator[Event, None]:
        """As `watch`, for `timeout` seconds at most; then raises DeadlineExceeded."""
        clock = asyncio.get_running_loop().time
        end = None if timeout is None else clock() + timeout
        async with aclosing(self.watch()) as events:
            while True:
                try:
                    async with asyncio.timeout(None if end is None else end - clock()):
                        event = await anext(events, None)
                except TimeoutError as error:
                    if isinstance(error, GephyraError):
                        raise
                    raise DeadlineExceeded(
                        f"{self.name} is still {self.state.told} after {timeout} s; wait again with result()"
                    ) from None
                if event is None:
                    return
                yield event

    async def outcome(self) -> AsyncSamplerHandle:
        """The sampler of a job that has ended; raises as `result` does for one that has not succeeded."""
        if not self.state.final:
            await self.refresh()
        match self.state:
            case JobState.SUCCEEDED:
                request = sampler_service_pb2.GetSamplerRequest(name=self._message.sampler)
                message = await self._connection.unary(lambda stubs: stubs.samplers.GetSampler, request)
                return AsyncSamplerHandle(self._connection, message)
            case JobState.FAILED:
                raise error_from_status(self._message.error, JobFailed)
            case JobState.CANCELLED:
                raise JobCancelled(f"{self.name} was cancelled")
            case state:
                raise DeadlineExceeded(f"{self.name} has not ended, it is {state.told}; wait with result()")

    async def cancel(self) -> Self:
        """Ask the server to stop the job; returns when it has agreed, see `state`. An ended job stays as it is."""
        request = training_service_pb2.CancelTrainingJobRequest(name=self.name, request_id=new_request_id())
        self._message = await self._connection.unary(lambda stubs: stubs.training.CancelTrainingJob, request)
        return self

    async def pause(self) -> Self:
        """Ask the server to stop the job at a checkpoint; returns when it has agreed, see `state` and `pausing`.

        Raises FailedPrecondition (JOB_STATE_UNSUITED) for a job that has ended or is being cancelled.
        """
        request = training_service_pb2.PauseTrainingJobRequest(name=self.name, request_id=new_request_id())
        self._message = await self._connection.unary(lambda stubs: stubs.training.PauseTrainingJob, request)
        return self

    async def resume(self) -> Self:
        """Have a paused job go on from its checkpoint when there is room; a pause that has not come is taken back.

        Raises FailedPrecondition (JOB_STATE_UNSUITED) for a job that has ended or is being cancelled, ResourceExhausted
        (QUOTA_EXCEEDED) if too many jobs wait.
        """
        request = training_service_pb2.ResumeTrainingJobRequest(name=self.name, request_id=new_request_id())
        self._message = await self._connection.unary(lambda stubs: stubs.training.ResumeTrainingJob, request)
        return self

    async def retry(self) -> "AsyncJob":
        """A new job of the same subject and options, from the last checkpoint of this one if it failed.

        Raises FailedPrecondition (JOB_STATE_UNSUITED) unless this one has failed or was cancelled, (SUBJECT_CHANGED) if
        what it was about has other content now; NotFound if that is gone; ResourceExhausted (QUOTA_EXCEEDED).
        """
        request = training_service_pb2.RetryTrainingJobRequest(name=self.name, request_id=new_request_id())
        message = await self._connection.unary(lambda stubs: stubs.training.RetryTrainingJob, request)
        return AsyncJob(self._connection, message)

    async def delete(self) -> None:
        """Remove a job that has ended from the server, with events, logs and checkpoints. Its sampler stays.

        Raises FailedPrecondition (JOB_STATE_UNSUITED) for a job that has not ended.
        """
        request = training_service_pb2.DeleteTrainingJobRequest(name=self.name, request_id=new_request_id())
        await self._connection.unary(lambda stubs: stubs.training.DeleteTrainingJob, request)

    async def _stream(self, seen: int) -> AsyncGenerator[tuple[int, Event | None], None]:
        """The events of one stream with their sequence numbers, None for a kind that this client does not know.

        Keeps state and metrics of the record up to date.
        """
        request = training_service_pb2.WatchTrainingJobRequest(name=self.name, after_sequence=seen)
        stream = self._connection.stream(lambda stubs: stubs.training.WatchTrainingJob, request, _SILENCE_SECONDS)
        async with aclosing(stream) as answers:
            async for answer in answers:
                if answer.event.HasField("bookmark"):
                    continue
                seen = _next(self.name, seen, answer.event)
                event = event_from_message(answer.event)
                if answer.event.HasField("state"):
                    self._message.state = answer.event.state
                    # Where a worker has to stop first, states that were replayed say nothing of the pause.
                    self._message.pause_requested &= not (self.state.final or self.state is JobState.PAUSED)
                if answer.event.HasField("metrics"):
                    self._message.metrics.CopyFrom(answer.event.metrics)
                yield seen, event


def _next(name: str, seen: int, event: training_service_pb2.TrainingEvent) -> int:
    """The sequence number of an event that is the next one after `seen`; raises DataLoss if it is not."""
    if event.sequence != seen + 1 + event.coalesced or event.coalesced < 0:
        raise DataLoss(
            f"the watch of {name} has a gap or a repetition: after event {seen} came {event.sequence}, "
            f"which stands for {event.coalesced} more",
            reason="EVENTS_MISSING",
        )
    return event.sequence


def _oldest(error: OutOfRange, seen: int) -> int:
    """The oldest event that the server still has; raises the error if it does not say so."""
    oldest = int(error.metadata.get("oldest_sequence", 0))
    if oldest <= seen + 1:
        raise error
    return oldest
