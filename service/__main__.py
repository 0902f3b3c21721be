"""`python -m gephyra.service`: runs one server until it is told to stop.

Exit codes: 0 after a drain, 2 bad arguments, 4 refused (an address that is not loopback, a database of another
version or another folder, an address that is taken, no Ray, a full disk), 5 the data folder or the database belongs to
another server.
"""

import argparse
import asyncio
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from .clock import Clock
from .config import ExecutorName, Limits, ServerConfig, Timings
from .executor import NoExecutor, open_executor
from .full import MESSAGE, is_full
from .lock import FolderLock, FolderLocked
from .logs import logged
from .objects import ObjectsRefused
from .options import parser
from .server import CannotListen, Server
from .store.places import DatabaseInUse, DatabaseRefused
from .store.versions import SchemaMismatch
from .tracing import NoTracing, Tracing, wanted_exporter

__all__ = ["main"]

logger = logging.getLogger("gephyra.service")

# More than any cluster has.
_MANY = 1 << 30

_EXIT_REFUSED = 4
_EXIT_LOCKED = 5
_EXIT_SECOND_SIGNAL = 130

# Linux keeps 108 bytes for the path of a socket, one of them for the end.
_MAX_SOCKET_PATH = 107


class _Refused(Exception):
    """The server will not run this way; the message is for the operator."""


def main(
    arguments: Sequence[str] | None = None, timings: Timings | None = None, limits: Limits | None = None,
    clock: Clock | None = None,
) -> int:  # fmt: skip
    """Run a server; returns the exit code. Time limits, other limits and the clock are the usual ones unless given."""
    # It tells how it works; what it did, the store tells.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    options = parser().parse_args(arguments)
    with logged(options.log_format, sys.stderr):
        return _run(options, timings or Timings(), limits or Limits(), clock or Clock())


def _run(options: argparse.Namespace, timings: Timings, limits: Limits, clock: Clock) -> int:
    try:
        config = ServerConfig(
            data=options.data.resolve(), address=_address(options), database_url=options.database_url,
            running_jobs=options.running_jobs or options.cpus or 1, cpus=_cpus(options), gpus=options.gpus,
            limits=replace(limits, max_queued_jobs=options.queued_jobs, keep_events=options.keep_events),
            draw_workers=options.draw_workers, timings=timings, draw_cache_bytes=options.draw_cache << 20,
            artefacts_url=options.artefacts_url, executor=options.executor, ray_address=options.ray_address,
            admin=None if options.admin_port is None else (options.admin_host, options.admin_port),
        )  # fmt: skip
        tracing = _tracing(options.traces)
        with FolderLock(config.data, shared=bool(config.database_url)):
            # Before the signals are ours: Ray takes them too.
            executor = open_executor(config)
            return asyncio.run(_serve(lambda: Server(config, tracing, executor, clock), options.exit_with_stdin))
    except (FolderLocked, DatabaseInUse) as error:
        print(f"gephyra: {error}", file=sys.stderr)
        return _EXIT_LOCKED
    except (_Refused, CannotListen, DatabaseRefused, NoExecutor, ObjectsRefused, SchemaMismatch) as error:
        print(f"gephyra: {error}", file=sys.stderr)
        return _EXIT_REFUSED
    except Exception as error:
        if not is_full(error):
            raise
        print(f"gephyra: {MESSAGE}", file=sys.stderr)
        return _EXIT_REFUSED


async def _serve(make: Callable[[], Server], exit_with_stdin: bool) -> int:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            # Workers end themselves when this process does.
            os._exit(_EXIT_SECOND_SIGNAL)
        logger.info("stopping; jobs go on from their checkpoints at the next start")
        stop.set()

    def on_input() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    if exit_with_stdin:
        loop.add_reader(sys.stdin.fileno(), on_input)
    server = make()
    address = await server.start()
    print(f"gephyra: serving on {address}", flush=True)
    if server.admin_address:
        print(f"gephyra: metrics on http://{server.admin_address}/metrics", flush=True)
    await stop.wait()
    await server.stop()
    return 0


def _cpus(options: argparse.Namespace) -> int:
    """Processors for jobs. A job of several workers holds several, and Ray knows best what its cluster has."""
    if options.cpus is None and options.executor is ExecutorName.RAY:
        return _MANY
    return int(options.cpus or max(os.cpu_count() or 1, options.running_jobs or 1))


def _tracing(exporter: str | None) -> Tracing:
    """What the option, or else the environment, asks for."""
    wanted = wanted_exporter(os.environ) if exporter is None else exporter
    if not wanted:
        return NoTracing()
    try:
        from .telemetry import NoExporter, OpenTelemetry, exporting
    except ImportError:
        return _untraced("traces need OpenTelemetry: pip install 'gephyra[telemetry]'", exporter)
    try:
        return OpenTelemetry(exporting(wanted, os.environ))
    except NoExporter as error:
        return _untraced(str(error), exporter)


def _untraced(why: str, option: str | None) -> Tracing:
    """Refuses for an option; a variable of the environment that was set for others stops nobody."""
    if option is not None:
        raise _Refused(why)
    logger.warning("no traces, though OTEL_ variables ask for them: %s", why)
    return NoTracing()


def _address(options: argparse.Namespace) -> str:
    if options.socket is not None:
        path = str(options.socket.absolute())
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
            raise _Refused(f"a socket path may have {_MAX_SOCKET_PATH} bytes; use a shorter one than {path}")
        return f"unix:{path}"
    host, colon, port = options.listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise _Refused(f"expected --listen HOST:PORT, for example 127.0.0.1:50051; got {options.listen!r}")
    if not _is_loopback(host.strip("[]")):
        raise _Refused(
            f"refusing to listen on {host}: without TLS and tokens, which come later, only this machine may connect; "
            "use 127.0.0.1, [::1] or --socket, and an SSH tunnel from elsewhere"
        )
    return f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
