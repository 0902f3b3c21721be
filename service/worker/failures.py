"""From an exception in a worker to the failure that the server is told; tracebacks stay in the worker's log."""

from google.rpc import code_pb2, status_pb2

from gephyra.targets.families import ParameterError, UnknownFamily
from gephyra.targets.untrusted import ProgramError

from ..errors import Failure, Reason, failure_status
from ..full import MESSAGE, is_full

__all__ = ["TaskError", "to_failed"]


class TaskError(Exception):
    """A failure with its reason, found by a task itself."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def to_failed(error: Exception) -> status_pb2.Status:
    """The status for an exception of any kind."""
    return failure_status(_failure(error))


def _failure(error: Exception) -> Failure:
    match error:
        case TaskError():
            return error.failure
        case ProgramError():
            path = f"definition.program.{error.field}" if error.field else "definition.program"
            return Failure(code_pb2.INVALID_ARGUMENT, error.reason, error.message, path)
        case UnknownFamily():
            return Failure(code_pb2.INVALID_ARGUMENT, Reason.UNKNOWN_FAMILY, str(error), "definition.catalogue.family")
        case ParameterError():
            path = f"definition.catalogue.parameters.{error.parameter}"
            return Failure(code_pb2.INVALID_ARGUMENT, Reason.PARAMETER_INVALID, str(error), path)
        case MemoryError():
            message = "the worker ran out of memory; use a smaller batch, fewer steps or a smaller model"
            return Failure(code_pb2.RESOURCE_EXHAUSTED, Reason.WORKER_KILLED_MEMORY, message)
        case OSError() if is_full(error):
            return Failure(code_pb2.RESOURCE_EXHAUSTED, Reason.STORAGE_FULL, MESSAGE)
        case _:
            return Failure(
                code_pb2.INTERNAL, Reason.INTERNAL, f"the worker failed with {type(error).__name__}: {error}"
            )
