"""Where workers run: an interface, and one file a way of keeping it."""

from .base import Executor, Exit, NoPlace, Resources, Worker, WorkerSpec, receive_within
from .environment import serving_environment, training_environment
from .local import LocalExecutor
from .opening import NoExecutor, open_executor

__all__ = [
    "Executor", "Exit", "LocalExecutor", "NoExecutor", "NoPlace", "Resources", "Worker", "WorkerSpec", "open_executor",
    "receive_within", "serving_environment", "training_environment",
]  # fmt: skip
