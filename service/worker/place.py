"""A worker's place among those that train together."""

import os
import platform
import socket
from pathlib import Path

from gephyra.protos import worker_pb2
from gephyra.samplers.gloo import Gloo
from gephyra.samplers.group import ALONE, Group

__all__ = ["join"]


def join(command: worker_pb2.WorkerCommand.Train) -> Group:
    """The group that a command names, once all its workers are there; without one, this worker alone.

    Raises GroupLost if some do not come.
    """
    if not command.HasField("group"):
        return ALONE
    place = command.group
    return Gloo(Path(place.store), place.rank, place.size, _here(), _address())


def _here() -> str:
    """A name that two processes share only where loopback joins them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/net').st_ino}"
    except OSError:
        return platform.node()


def _address() -> str:
    """This machine's address in the network that its default route leads to; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostbyname(socket.gethostname())
        return str(probe.getsockname()[0])
