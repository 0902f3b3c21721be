"""A TCP port of this machine in front of a Unix socket: slow, deaf, or losing answers on the way back."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["FaultyProxy", "faulty_proxy"]

_RESET = struct.pack("ii", 1, 0)
_HEADERS = 1
_FRAME = 9


@dataclass
class FaultyProxy:
    """Passes everything on, unless told otherwise."""

    address: str
    connections: int = 0
    """So many were opened until now."""
    pause: float = 0.0
    """Seconds that 64 KiB take, each way."""
    lose: int = 0
    """So many answers are still to be lost: the connection is reset when one comes back."""
    lost: int = 0
    """So many were."""
    _links: list["_Link"] = field(default_factory=list)

    def swallow(self) -> None:
        """From now on what comes on the connections that are open leads nowhere, without a word to either side."""
        for link in self._links:
            link.deaf = True


@contextlib.contextmanager
def faulty_proxy(upstream: Path) -> Iterator[FaultyProxy]:
    """In front of a server's socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = FaultyProxy(f"127.0.0.1:{listener.getsockname()[1]}")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(str(upstream))
                except OSError:
                    # The server is away.
                    client.close()
                    server.close()
                    continue
                proxy._links.append(_Link(proxy, client, server))
                proxy.connections += 1

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for link in proxy._links:
            link.close()


class _Link:
    """One connection."""

    def __init__(self, proxy: FaultyProxy, client: socket.socket, server: socket.socket) -> None:
        self.deaf = False
        self._proxy, self._ends = proxy, (client, server)
        for way in ((client, server, None), (server, client, _Frames())):
            threading.Thread(target=self._forward, args=way, daemon=True).start()

    def close(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _forward(self, source: socket.socket, sink: socket.socket, answers: "_Frames | None") -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self.deaf:
                    continue
                time.sleep(self._proxy.pause * len(data) / (1 << 16))
                if answers is not None and answers.answer(data) and self._proxy.lose > 0:
                    self._proxy.lose -= 1
                    self._proxy.lost += 1
                    sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    break
                sink.sendall(data)
        self.close()


class _Frames:
    """Finds answers among what a server of HTTP/2 sends: each begins with a frame of headers."""

    def __init__(self) -> None:
        self._head, self._left = b"", 0

    def answer(self, data: bytes) -> bool:
        """Whether an answer begins here."""
        found = False
        while data:
            if self._left:
                passed = min(self._left, len(data))
                self._left, data = self._left - passed, data[passed:]
                continue
            missing = _FRAME - len(self._head)
            self._head, data = self._head + data[:missing], data[missing:]
            if len(self._head) == _FRAME:
                self._left = int.from_bytes(self._head[:3], "big")
                found |= self._head[3] == _HEADERS
                self._head = b""
        return found
