"""What may become of a job: every change of state that there is, and what each order does in each state."""

from collections.abc import Mapping
from enum import Enum

from .errors import FailedPrecondition, Reason
from .names import JOBS
from .store.records import JobRecord, JobState

__all__ = ["ALLOWED", "NEXT", "Order", "state_after"]

_QUEUED, _PENDING, _RUNNING, _PAUSED = JobState.QUEUED, JobState.PENDING, JobState.RUNNING, JobState.PAUSED
_CANCELLING, _CANCELLED = JobState.CANCELLING, JobState.CANCELLED
_SUCCEEDED, _FAILED = JobState.SUCCEEDED, JobState.FAILED

NEXT: Mapping[JobState, frozenset[JobState]] = {
    _QUEUED: frozenset({_PENDING, _PAUSED, _CANCELLED}),
    _PENDING: frozenset({_RUNNING, _QUEUED, _PAUSED, _CANCELLING, _FAILED}),
    _RUNNING: frozenset({_SUCCEEDED, _FAILED, _QUEUED, _PAUSED, _CANCELLING}),
    _PAUSED: frozenset({_QUEUED, _CANCELLED}),
    _CANCELLING: frozenset({_CANCELLED, _SUCCEEDED, _FAILED}),
    _CANCELLED: frozenset(),
    _SUCCEEDED: frozenset(),
    _FAILED: frozenset(),
}
"""The states that may follow each; none follows a terminal one."""


class Order(Enum):
    """What a caller may ask of a job: the name of the call, and where it is refused, what was expected."""

    PAUSE = "PauseTrainingJob", "expected a job that waits or runs; one that has ended is begun anew by a retry"
    RESUME = "ResumeTrainingJob", "expected a paused job; one that has ended is begun anew by a retry"
    CANCEL = "CancelTrainingJob", ""
    RETRY = "RetryTrainingJob", "expected one that failed or was cancelled; resume a paused one, wait for one that runs"
    DELETE = "DeleteTrainingJob", "expected a job that has ended; cancel it first"

    @property
    def method(self) -> str:
        """Name of the RPC, under which its request ids are remembered."""
        return self.value[0]

    @property
    def expected(self) -> str:
        """What is said where it is refused."""
        return self.value[1]


ALLOWED: Mapping[Order, Mapping[JobState, JobState]] = {
    # An attempt is told to stop and the wish is kept; the state changes when it has.
    Order.PAUSE: {_QUEUED: _PAUSED, _PENDING: _PENDING, _RUNNING: _RUNNING, _PAUSED: _PAUSED},
    Order.RESUME: {_PAUSED: _QUEUED, _QUEUED: _QUEUED, _PENDING: _PENDING, _RUNNING: _RUNNING},
    Order.CANCEL: {
        _QUEUED: _CANCELLED, _PAUSED: _CANCELLED, _PENDING: _CANCELLING, _RUNNING: _CANCELLING,
        _CANCELLING: _CANCELLING, _CANCELLED: _CANCELLED, _SUCCEEDED: _SUCCEEDED, _FAILED: _FAILED,
    },
    # Of another job, or of none.
    Order.RETRY: {_FAILED: _FAILED, _CANCELLED: _CANCELLED},
    Order.DELETE: {_CANCELLED: _CANCELLED, _SUCCEEDED: _SUCCEEDED, _FAILED: _FAILED},
}  # fmt: skip
"""The state of a job after an order, by the state before; an order that is not here is refused and changes nothing."""


def state_after(order: Order, job: JobRecord) -> JobState:
    """The state of a job after an order. Raises FailedPrecondition (JOB_STATE_UNSUITED)."""
    after = ALLOWED[order].get(job.state)
    if after is None:
        raise FailedPrecondition(
            Reason.JOB_STATE_UNSUITED,
            f"{JOBS}/{job.name} is {job.state.name}; {order.expected}",
            metadata={"state": job.state.name},
        )
    return after
