"""The admin port: /metrics for Prometheus, /healthz for whoever restarts servers. HTTP, on threads of its own."""

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

__all__ = ["Admin"]


class Admin:
    """Listens from construction until `close`. Raises OSError for an address that cannot be had.

    Args:
        host: Where to listen.
        port: 0 takes a free one.
        registry: What /metrics shows.
        healthy: Whether /healthz answers 200 rather than 503. Called on another thread.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, healthy: Callable[[], bool]) -> None:
        self._metrics, self._healthy = make_wsgi_app(registry, disable_compression=True), healthy
        server_class = _ServerIPv6 if ":" in host else _Server
        self._server = make_server(host, port, self._answer, server_class=server_class, handler_class=_Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="gephyra-admin", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it has."""
        return self._server.server_port

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environment: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        match environment["REQUEST_METHOD"], environment["PATH_INFO"]:
            case ("GET" | "HEAD", "/metrics"):
                page: Iterable[bytes] = self._metrics(environment, start_response)
                return page
            case ("GET" | "HEAD", "/healthz"):
                healthy = self._healthy()
                status, text = ("200 OK", b"ok\n") if healthy else ("503 Service Unavailable", b"stopping\n")
            case ("GET" | "HEAD", _):
                status, text = "404 Not Found", b"try /metrics or /healthz\n"
            case _:
                status, text = "405 Method Not Allowed", b"only GET\n"
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
        return [text]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerIPv6(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    # A client that sends nothing holds a thread no longer than this.
    timeout = 10

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: a scrape every few seconds is no news."""
