"""One command after the other, each answered to its end or with a failure."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gephyra.protos import worker_pb2
from gephyra.samplers.group import GroupLost

from ..artefacts import Artefacts
from ..exits import GROUP_LOST
from . import denoising, tasks
from .cache import Workbench
from .channel import Channel
from .failures import to_failed

__all__ = ["serve"]

_TASKS: Mapping[str, Callable[[Any, tasks.Call], None]] = {
    "train": tasks.train,
    "check": tasks.check,
    "evaluate": tasks.evaluate,
    "draw": tasks.draw,
    "estimate": tasks.estimate,
    "examine": tasks.examine,
    "fit": denoising.fit,
    "generate": denoising.generate,
    "log_prob": denoising.log_prob,
    "judge": denoising.judge,
}


def serve(channel: Channel, artefacts: Artefacts, threads: int, started: float) -> None:
    """Do what `channel` brings, for ever.

    Args:
        channel: Where commands come from and events go.
        artefacts: Stored content.
        threads: Intra-op threads of torch.
        started: `time.monotonic()` when the process began.
    """
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    workbench = Workbench(artefacts)
    channel.send(worker_pb2.WorkerEvent(ready=worker_pb2.WorkerEvent.Ready()))
    for command in channel.commands():
        deliver = _stamped(channel, command.traceparent)
        call = tasks.Call(command.id, deliver, channel.stopped(command.id), workbench, time.monotonic, started)
        try:
            kind = command.WhichOneof("command") or ""
            _TASKS[kind](getattr(command, kind), call)
        except GroupLost:
            # No failure of the job, and nothing that could be gone on with: a death, and the next attempt resumes.
            traceback.print_exc(file=sys.stderr)
            sys.stderr.flush()
            os._exit(GROUP_LOST)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            deliver(worker_pb2.WorkerEvent(id=command.id, failed=to_failed(error)))


def _stamped(channel: Channel, traceparent: str) -> Callable[[worker_pb2.WorkerEvent], None]:
    """Sends events with when their command began, where somebody traces; the log tells which trace it was."""
    if not traceparent:
        return channel.send
    began, pid = time.time_ns(), os.getpid()
    print(f"traceparent {traceparent}", file=sys.stderr, flush=True)

    def send(event: worker_pb2.WorkerEvent) -> None:
        event.traceparent, event.began_ns, event.sent_ns, event.pid = traceparent, began, time.time_ns(), pid
        channel.send(event)

    return send
