"""`python -m gephyra.service.worker --fd N --artefacts FOLDER`, started by the server only."""

import argparse
import ctypes
import os
import signal
import socket
import sys
import time
from pathlib import Path

from ..artefacts import Artefacts
from .channel import Channel

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve commands until the socket closes."""
    started = time.monotonic()
    arguments = _parser().parse_args()
    _die_with(arguments.parent)
    # Listening comes first: a server that dies during the imports must not leave this process behind.
    channel = Channel(socket.socket(fileno=arguments.fd))
    channel.start()
    if arguments.heartbeat > 0:
        channel.beat(arguments.heartbeat)

    from .loop import serve

    serve(channel, Artefacts(arguments.artefacts), arguments.threads, started)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gephyra worker")
    parser.add_argument("--fd", type=int, required=True, help="inherited socket")
    parser.add_argument("--artefacts", type=Path, required=True, help="folder of stored content")
    parser.add_argument("--threads", type=int, default=1, help="intra-op threads")
    parser.add_argument("--parent", type=int, required=True, help="process id of the server")
    parser.add_argument("--heartbeat", type=float, default=0.0, help="seconds between signs of life; 0: none")
    return parser


def _die_with(parent: int) -> None:
    # The end of the socket is noticed by a thread, which waits while a library holds the interpreter lock in a
    # long compilation; the kernel does not wait.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(3)


if __name__ == "__main__":
    main()
