"""A TCP port of this machine in front of a Unix socket, which cuts connections after a number of bytes."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Proxy", "cutting_proxy"]

# With this, closing sends a reset: what a broken network looks like, not an orderly end.
_RESET = struct.pack("ii", 1, 0)


@dataclass
class Proxy:
    """Where it listens, and how many bytes it passed to the server."""

    address: str
    passed: int = 0


@contextlib.contextmanager
def cutting_proxy(upstream: Path, cuts: Iterable[int]) -> Iterator[Proxy]:
    """Connection i is cut once cuts[i] bytes went to the server; later ones are left alone."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = Proxy(f"127.0.0.1:{listener.getsockname()[1]}")
    left: Iterator[int] = iter(cuts)
    opened: list[socket.socket] = []

    def count(passed: int) -> None:
        proxy.passed += passed

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(upstream))
                opened.extend((client, server))
                limit = next(left, None)
                ways = ((client, server, limit, count), (server, client, None, lambda passed: None))
                for way in ways:
                    threading.Thread(target=_forward, args=way, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        for each in (listener, *opened):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        thread.join()


def _forward(source: socket.socket, sink: socket.socket, most: int | None, count: Callable[[int], None]) -> None:
    passed = 0
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            room = len(data) if most is None else most - passed
            sink.sendall(data[:room])
            count(len(data[:room]))
            passed += len(data)
            if most is not None and passed >= most:
                source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                break
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
