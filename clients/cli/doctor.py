"""What would stop a server here, and what to do about it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..local import server_environment
from .options import Json
from .output import print_json, print_rows, say

__all__ = ["doctor"]


def doctor(
    data: Annotated[Path, typer.Option(help="Data folder of the server.")] = Path("gephyra-data"),
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where it is to listen.")] = "127.0.0.1:50051",
    admin_port: Annotated[int | None, typer.Option(metavar="PORT", help="Its admin port, if it has one.")] = None,
    database_url: Annotated[
        str, typer.Option(envvar="GEPHYRA_DATABASE_URL", metavar="URL", help="PostgreSQL, if it is used.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Look at this machine before a server starts, or beside one that runs, and say what to do.

    Looked at: the data folder (may we write there, room, version of the database, whose it is), installed packages,
    torch and jax in a process of their own as workers load them, GPU, ports, clock, what traces need, and PostgreSQL
    where a URL is given. Nothing is changed. Options mean what they mean to `gephyra serve`.

    **ok** needs nothing. A **warning** lets the server run, but something will not work, or not for long. A **stop**
    keeps it from starting or working: the exit code is then 1, so that a script can ask first.

    Example: `gephyra doctor --data gephyra-data && gephyra serve --data gephyra-data`
    """
    words = ["--data", str(data), "--listen", listen]
    words += [] if admin_port is None else ["--admin", f"127.0.0.1:{admin_port}"]
    command = [sys.executable, "-P", "-m", "gephyra.service.doctor", *words]
    # Arguments are for every user of the machine to see, and a URL may hold a password.
    environment = server_environment() | ({"GEPHYRA_DATABASE_URL": database_url} if database_url else {})
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        raise typer.Exit(1)
    findings = json.loads(done.stdout)
    if as_json:
        print_json({"findings": findings, "stopped": bool(done.returncode)})
    else:
        _show(findings)
    raise typer.Exit(done.returncode)


def _show(findings: list[dict[str, Any]]) -> None:
    rows = [(each["check"], each["level"], each["found"], each["advice"]) for each in findings]
    print_rows(("check", "level", "found", "what to do"), rows)
    stops = sum(each["level"] == "stop" for each in findings)
    if stops:
        say(f"{stops} of {len(findings)} findings would stop a server")
    else:
        say("nothing would stop a server")
