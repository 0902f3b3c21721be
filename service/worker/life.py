"""Signs of life of a worker at long work."""

import threading
from collections.abc import Callable
from typing import Any

from gephyra.protos import worker_pb2

from .tasks import Call

__all__ = ["alive"]

_PERIOD_SECONDS = 1.0


def alive(task: Callable[[Any, Call], None]) -> Callable[[Any, Call], None]:
    """The task, and beside it, on another thread, an event without content every second until it ends."""

    def run(command: Any, call: Call) -> None:
        over = threading.Event()

        def beat() -> None:
            while not over.wait(_PERIOD_SECONDS):
                call.send(worker_pb2.WorkerEvent())

        thread = threading.Thread(target=beat, name="gephyra-life", daemon=True)
        thread.start()
        try:
            task(command, call)
        finally:
            over.set()
            thread.join()

    return run
