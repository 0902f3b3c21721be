"""Training jobs: watch, wait, pause, resume, cancel, retry, delete."""

import sys
from collections.abc import Iterator
from typing import Self

from gephyra.protos import training_service_pb2

from ..aio.job import AsyncJob
from ..errors import GephyraError
from ..events import Event
from ..facts import JobFacts
from ..progress import progress_display
from .bridge import Bridge
from .sampler import SamplerHandle

__all__ = ["Job"]

_CANCEL_SECONDS = 10.0


class Job(JobFacts):
    """A training job on the server. It goes on whether or not anybody watches."""

    def __init__(self, bridge: Bridge, twin: AsyncJob) -> None:
        self._bridge = bridge
        self._twin = twin

    @property
    def message(self) -> training_service_pb2.TrainingJob:
        """The server's record, as it came last."""
        return self._twin.message

    def refresh(self) -> Self:
        """Read the record again."""
        self._bridge.run(self._twin.refresh())
        return self

    def watch(self, after_sequence: int = 0) -> Iterator[Event]:
        """All events after `after_sequence`, past ones first, until the job is in a final state.

        Each event comes once, in order; a watch that breaks is resumed where it broke. Of metrics in a row a reader
        that is late gets the newest, see `Event.coalesced`. Events that the server does not keep any more are left
        out, with a warning in the log.

        Raises DataLoss if an event is missing or comes twice.
        """
        return self._bridge.iterate(self._twin.watch(after_sequence))

    def result(self, *, progress: bool = True, timeout: float | None = None) -> SamplerHandle:
        """Wait for the job to end; the sampler it made. One that is paused is waited for too, until it is resumed.

        Ctrl-C cancels the job of an embedded server. On any other server the job goes on, and the line that
        finds it again is printed.

        Args:
            progress: Show a bar, where there is a terminal or a notebook to show it.
            timeout: Seconds to wait at most; None waits for ever. The job goes on after a timeout.

        Raises:
            JobFailed: with the reason of the failure.
            JobCancelled: if it was cancelled.
            DeadlineExceeded: if it is still running after `timeout`.
        """
        try:
            with progress_display(self.name, enabled=progress) as display:
                for event in self.follow(timeout):
                    display.update(event)
            return self.outcome()
        except KeyboardInterrupt:
            self._interrupted()
            raise

    def follow(self, timeout: float | None = None) -> Iterator[Event]:
        """As `watch`, for `timeout` seconds at most; then raises DeadlineExceeded."""
        return self._bridge.iterate(self._twin.follow(timeout))

    def outcome(self) -> SamplerHandle:
        """The sampler of a job that has ended; raises as `result` does for one that has not succeeded."""
        return SamplerHandle(self._bridge, self._bridge.run(self._twin.outcome()))

    def cancel(self) -> Self:
        """Ask the server to stop the job; returns when it has agreed, see `state`. An ended job stays as it is."""
        self._bridge.run(self._twin.cancel())
        return self

    def pause(self) -> Self:
        """Ask the server to stop the job at a checkpoint; returns when it has agreed, see `state` and `pausing`.

        Raises FailedPrecondition (JOB_STATE_UNSUITED) for a job that has ended or is being cancelled.
        """
        self._bridge.run(self._twin.pause())
        return self

    def resume(self) -> Self:
        """Have a paused job go on from its checkpoint when there is room; a pause that has not come is taken back.

        Raises FailedPrecondition (JOB_STATE_UNSUITED) for a job that has ended or is being cancelled, ResourceExhausted
        (QUOTA_EXCEEDED) if too many jobs wait.
        """
        self._bridge.run(self._twin.resume())
        return self

    def retry(self) -> "Job":
        """A new job of the same subject and options, from the last checkpoint of this one if it failed.

        Raises FailedPrecondition (JOB_STATE_UNSUITED) unless this one has failed or was cancelled, (SUBJECT_CHANGED) if
        what it was about has other content now; NotFound if that is gone; ResourceExhausted (QUOTA_EXCEEDED).
        """
        return Job(self._bridge, self._bridge.run(self._twin.retry()))

    def delete(self) -> None:
        """Remove a job that has ended from the server, with events, logs and checkpoints. Its sampler stays.

        Raises FailedPrecondition (JOB_STATE_UNSUITED) for a job that has not ended.
        """
        self._bridge.run(self._twin.delete())

    def _interrupted(self) -> None:
        """Ctrl-C while waiting: an embedded server's job would end with us anyway, so end it in order."""
        if not self._twin.embedded:
            print(f"{self.name} goes on; to watch it again:\n    {self._twin.reattach_command}", file=sys.stderr)
            return
        print(f"cancelling {self.name} ...", file=sys.stderr)
        try:
            self.cancel()
            for _ in self.follow(_CANCEL_SECONDS):
                pass
        except GephyraError as error:
            print(f"could not cancel {self.name}: {error}", file=sys.stderr)
        else:
            print(f"{self.name} is {self.state.value.lower()}", file=sys.stderr)
