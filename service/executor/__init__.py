"""Where workers run: an interface, and one file a way of keeping it."""

from .base import Executor, Exit, NoPlace, Resources, Worker, WorkerSpec, receive_within
from .environment import serving_environment, training_environment
from .local import LocalExecutor

__all__ = [
    "Executor", "Exit", "LocalExecutor", "NoPlace", "Resources", "Worker", "WorkerSpec", "receive_within",
    "serving_environment", "training_environment",
]  # fmt: skip
