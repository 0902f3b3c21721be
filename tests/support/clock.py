"""Time that other work on the machine does not change."""

import resource
from collections.abc import Callable


def child_seconds(run: Callable[[], object]) -> float:
    """Processor seconds, user and system, of the child processes that `run` starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
