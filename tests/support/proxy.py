"""A TCP port of this machine in front of a Unix socket, which cuts connections after a number of bytes."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["cutting_proxy"]

# With this, closing sends a reset: what a broken network looks like, not an orderly end.
_RESET = struct.pack("ii", 1, 0)


@contextlib.contextmanager
def cutting_proxy(upstream: Path, cuts: Iterable[int]) -> Iterator[str]:
    """Gives the address. Connection i is cut once cuts[i] bytes went to the server; later ones are left alone."""
    listener = socket.create_server(("127.0.0.1", 0))
    left, opened = iter(cuts), []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(upstream))
                opened.extend((client, server))
                limit = next(left, None)
                for source, sink, most in ((client, server, limit), (server, client, None)):
                    threading.Thread(target=_forward, args=(source, sink, most), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for each in (listener, *opened):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        thread.join()


def _forward(source: socket.socket, sink: socket.socket, most: int | None) -> None:
    passed = 0
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            room = len(data) if most is None else most - passed
            sink.sendall(data[:room])
            passed += len(data)
            if most is not None and passed >= most:
                source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                break
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
