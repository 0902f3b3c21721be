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
from pathlib import Path

from .clock import Clock
from .config import ARTEFACTS_URL, DATABASE_URL, ExecutorName, Limits, ServerConfig, Timings
from .executor import NoExecutor, open_executor
from .full import MESSAGE, is_full
from .lock import FolderLock, FolderLocked
from .logs import LogStyle, logged
from .objects import ObjectsRefused
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
    options = _parser().parse_args(arguments)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gephyra.service", description="Run a gephyra sampling server.")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="folder of everything that lasts")
    parser.add_argument(
        "--database-url", default=os.environ.get(DATABASE_URL, ""), metavar="URL",
        help=f"PostgreSQL for the rows, postgresql+psycopg://user@host/database; better by {DATABASE_URL}, which no "
        "other user sees (default: SQLite in the folder)",
    )  # fmt: skip
    parser.add_argument(
        "--artefacts-url", default=os.environ.get(ARTEFACTS_URL, ""), metavar="URL",
        help="s3://bucket/prefix for the artefacts, of which the folder is a copy then (default: the folder alone)",
    )  # fmt: skip
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--listen", metavar="HOST:PORT", help="loopback address; port 0 takes a free one")
    where.add_argument("--socket", type=Path, metavar="PATH", help="Unix socket to make")
    _add_slots(parser)
    parser.add_argument(
        "--draw-workers", type=_positive, default=1, metavar="N", help="warm drawing processes (default 1)"
    )
    parser.add_argument(
        "--draw-cache", type=_whole, default=64, metavar="MIB", help="memory for draws made lately (default 64)"
    )
    parser.add_argument(
        "--executor", type=ExecutorName, choices=list(ExecutorName), default=ExecutorName.LOCAL,
        metavar="|".join(ExecutorName), help="where workers run (default local: on this machine)",
    )  # fmt: skip
    parser.add_argument(
        "--ray-address", default="auto", metavar="auto|HOST:PORT",
        help="of the Ray cluster that this machine is a node of (default auto)",
    )  # fmt: skip
    parser.add_argument(
        "--keep-events", type=_positive, default=Limits().keep_events, metavar="N",
        help="newest events of each job to keep for watchers (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--admin-port", type=_port, metavar="PORT", help="port of /metrics and /healthz; 0: a free one")
    parser.add_argument("--admin-host", default="127.0.0.1", metavar="HOST", help="its address (default: loopback)")
    parser.add_argument(
        "--log-format", type=LogStyle, choices=list(LogStyle), default=LogStyle.AUTO, metavar="|".join(LogStyle),
        help="of the log on standard error (default auto: text at a terminal, else JSON)",
    )  # fmt: skip
    parser.add_argument("--traces", metavar="EXPORTER", help="OpenTelemetry exporter, for example otlp or console")
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when standard input (a pipe) closes")
    return parser


def _add_slots(parser: argparse.ArgumentParser) -> None:
    """What jobs may have of the machine, and how many may wait for it."""
    parser.add_argument(
        "--running-jobs", type=_positive, metavar="N", help="jobs at the same time (default: as --cpus, or 1)"
    )
    parser.add_argument(
        "--cpus",
        type=_positive,
        metavar="N",
        help="processors for jobs together (default: those of this machine, and enough for one a job)",
    )
    parser.add_argument(
        "--gpus", type=_gpus, metavar="LIST", help="GPUs for jobs, one a job, like 0,1 (default: each job sees all)"
    )
    parser.add_argument(
        "--queued-jobs", type=_whole, default=Limits().max_queued_jobs, metavar="N",
        help=f"jobs that may wait (default {Limits().max_queued_jobs})",
    )  # fmt: skip


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


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, got {value}")
    return value


def _gpus(text: str) -> tuple[str, ...]:
    """Names as CUDA_VISIBLE_DEVICES has them: numbers or UUIDs; none for an empty text."""
    names = tuple(name.strip() for name in text.split(",")) if text.strip() else ()
    if "" in names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"expected different GPUs with commas between, like 0,1; got {text!r}")
    return names


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {value}")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


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
