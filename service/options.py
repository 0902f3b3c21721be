"""The options of a server."""

import argparse
import os
from pathlib import Path

from .config import ARTEFACTS_URL, DATABASE_URL, ExecutorName, Limits
from .logs import LogStyle

__all__ = ["parser"]


def parser() -> argparse.ArgumentParser:
    """What `python -m gephyra.service` is told. The URLs are taken from the environment where they are left out."""
    made = argparse.ArgumentParser(prog="python -m gephyra.service", description="Run a gephyra sampling server.")
    _add_place(made)
    _add_slots(made)
    _add_workers(made)
    _add_sight(made)
    made.add_argument("--exit-with-stdin", action="store_true", help="stop when standard input (a pipe) closes")
    return made


def _add_place(parser: argparse.ArgumentParser) -> None:
    """Where everything is kept, and where to listen."""
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


def _add_workers(parser: argparse.ArgumentParser) -> None:
    """Where workers run, how many draw, and what is kept of their work."""
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


def _add_sight(parser: argparse.ArgumentParser) -> None:
    """What an operator sees."""
    parser.add_argument("--admin-port", type=_port, metavar="PORT", help="port of /metrics and /healthz; 0: a free one")
    parser.add_argument("--admin-host", default="127.0.0.1", metavar="HOST", help="its address (default: loopback)")
    parser.add_argument(
        "--log-format", type=LogStyle, choices=list(LogStyle), default=LogStyle.AUTO, metavar="|".join(LogStyle),
        help="of the log on standard error (default auto: text at a terminal, else JSON)",
    )  # fmt: skip
    parser.add_argument("--traces", metavar="EXPORTER", help="OpenTelemetry exporter, for example otlp or console")


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
