"""Commands on servers: start one, ask one, see one at work."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ..demo import DemoSettings, run_demo
from ..local import ARTEFACTS_URL, DATABASE_URL, require_server, server_command, server_environment
from .options import ArtefactsUrl, DatabaseUrl, Folder, Json, Seed, Server, connect
from .output import print_json, print_rows, say
from .training import Loss, Method, Precondition

__all__ = ["Gpus", "RunningJobs", "demo", "info", "serve"]


RunningJobs: TypeAlias = Annotated[
    int | None, typer.Option(help="Training jobs that run at once [default: as --cpus, or 1].")
]
Gpus: TypeAlias = Annotated[
    str | None, typer.Option(metavar="LIST", help="GPUs for training jobs, one a job, like 0,1; empty: none.")
]


def serve(
    data: Annotated[Path, typer.Option(help="Folder that keeps everything.")] = Path("gephyra-data"),
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Loopback address.")] = "127.0.0.1:50051",
    socket: Annotated[Path | None, typer.Option(help="Unix socket instead of an address.")] = None,
    running_jobs: RunningJobs = None,
    cpus: Annotated[int | None, typer.Option(help="Processors for training jobs together.")] = None,
    gpus: Gpus = None,
    queued_jobs: Annotated[int, typer.Option(help="Training jobs that may wait; more are refused.")] = 100,
    draw_workers: Annotated[int, typer.Option(help="Processes that draw.")] = 1,
    draw_cache: Annotated[int, typer.Option(metavar="MIB", help="Memory for draws made lately; 0: none.")] = 64,
    executor: Annotated[str, typer.Option(metavar="local|ray", help="Where workers run.")] = "local",
    ray_address: Annotated[str, typer.Option(metavar="auto|HOST:PORT", help="Of the Ray cluster.")] = "auto",
    keep_events: Annotated[int, typer.Option(metavar="N", help="Newest events of each job to keep.")] = 10_000,
    admin_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port of /metrics (Prometheus) and /healthz; 0: a free one.")
    ] = None,
    admin_host: Annotated[str, typer.Option(metavar="HOST", help="Its address; no TLS, no token.")] = "127.0.0.1",
    log_format: Annotated[str, typer.Option(metavar="auto|json|text", help="Of the log on standard error.")] = "auto",
    traces: Annotated[
        str | None, typer.Option(metavar="EXPORTER", help="OpenTelemetry exporter, for example otlp or console.")
    ] = None,
    database_url: DatabaseUrl = "",
    artefacts_url: ArtefactsUrl = "",
    as_json: Json = False,
) -> None:
    """Run a server until Ctrl-C or SIGTERM. It refuses addresses other than loopback.

    Example: `gephyra serve --data gephyra-data --listen 127.0.0.1:50051 --admin-port 9464`
    """
    require_server()
    place = ["--listen", listen] if socket is None else ["--socket", str(socket)]
    options = _words(
        running_jobs=running_jobs, cpus=cpus, gpus=gpus, queued_jobs=queued_jobs, draw_workers=draw_workers,
        draw_cache=draw_cache, executor=executor, ray_address=ray_address, keep_events=keep_events,
        admin_port=admin_port, admin_host=admin_host, log_format=log_format, traces=traces,
    )  # fmt: skip
    command = [*server_command(data), *place, *options]
    environment = {**server_environment(), ARTEFACTS_URL: artefacts_url, DATABASE_URL: database_url}
    if as_json:
        raise typer.Exit(_serve_json(command, environment))
    # The server takes this process' place: signals reach it directly.
    os.execve(command[0], command, environment)


def _words(**options: str | int | None) -> list[str]:
    """Options as the server's command line has them; None: left out."""
    pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value is not None)
    return [word for pair in pairs for word in pair]


def info(server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """Show what a server offers: version, words, catalogue, limits.

    Example: `gephyra info --server localhost:50051`
    """
    with connect(server, folder) as client:
        found = client.info()
    if as_json:
        print_json(found.to_json())
        return
    say(f"gephyra {found.version}")
    words = [
        ("method", found.methods), ("loss", found.losses), ("precondition", found.preconditions),
        ("integrator", found.integrators), ("device", found.devices), ("precision", found.precisions),
    ]  # fmt: skip
    print_rows(("option", "words"), [(name, ", ".join(options)) for name, options in words])
    families = [(name, ", ".join(family.parameters), family.description) for name, family in found.catalogue.items()]
    print_rows(("family", "parameters", "description"), families, "catalogue")
    limits = found.to_json()["limits"]
    print_rows(("limit", "value"), [(name, f"{value:,}") for name, value in limits.items()])
    say(f"programs: {', '.join(found.program_formats)}")


def demo(
    method: Method = None,
    loss: Loss = None,
    precondition: Precondition = None,
    seconds: Annotated[float, typer.Option(help="Budget in seconds of training.")] = 60.0,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("gephyra-demo"),
    as_json: Json = False,
) -> None:
    """See it at work: the posterior of a NumPyro model on real data, and a log Z that is known.

    Example: `gephyra demo --seconds 60 --out gephyra-demo`
    """
    settings = DemoSettings(method, loss, precondition, seconds, seed, out)
    record = run_demo(settings, tell=None if as_json else say)
    if as_json:
        print_json(record)


def _serve_json(command: list[str], environment: dict[str, str]) -> int:
    """Run the server as a child that ends with us, with its address as JSON; its exit code."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, "--exit-with-stdin"], stdin=pipe, stdout=pipe, text=True, env=environment
    ) as server:
        # Ctrl-C reaches the server by itself, in the same process group.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        assert server.stdout is not None
        line = server.stdout.readline()
        if line:
            told = {"address": line.partition("serving on ")[2].strip(), "pid": server.pid}
            if "--admin-port" in command:
                told["metrics"] = server.stdout.readline().partition("metrics on ")[2].strip()
            print_json(told)
        return server.wait()
