"""Commands on the database of a server: run on its machine, each as a process of its own."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ..local import ARTEFACTS_URL, DATABASE_URL, require_server, server_environment, server_module
from .options import ArtefactsUrl, DatabaseUrl, Json

__all__ = ["app", "backup", "check", "gc", "upgrade"]

app = typer.Typer(
    no_args_is_help=True,
    help="""Look after the database of a data folder: targets, jobs with their events, samplers, data sets.

Run these on the server's machine, with the options that the server has. Arrays and trained weights are files in the
folder `artefacts` of the data folder, and not part of the database.
""",
)

_Data = Annotated[Path, typer.Option(help="The server's data folder.")]
_DEFAULT = Path("gephyra-data")


@app.command("upgrade")
def upgrade(data: _Data = _DEFAULT, database_url: DatabaseUrl = "", as_json: Json = False) -> None:
    """Bring the tables of an earlier version to this one's, with all that is in them.

    A server does the same at its start. It must not be running. Back up first: there is no way back.

    Example: `gephyra db upgrade --data gephyra-data`
    """
    _run(["upgrade"], data, database_url, as_json)


@app.command("check")
def check(
    data: _Data = _DEFAULT, database_url: DatabaseUrl = "", artefacts_url: ArtefactsUrl = "", as_json: Json = False
) -> None:
    """Look for damage, an earlier version, tables that are not what they should be, content that is missing or corrupt.

    Exit code 1 if there is any. Every needed file is read. The server may be running.

    Example: `gephyra db check --data gephyra-data`
    """
    _run(["check"], data, database_url, as_json, artefacts_url)


@app.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="Where to; it must not be there yet.")],
    data: _Data = _DEFAULT,
    database_url: DatabaseUrl = "",
    as_json: Json = False,
) -> None:
    """Write all of one moment to a file; the server may be running.

    Of SQLite it is a database: to restore, put it in the place of `gephyra.sqlite3`, and remove the files `-wal` and
    `-shm` beside that. Of PostgreSQL it is an archive for `pg_restore`. Copy the folder `artefacts` after it, and
    delete nothing meanwhile.

    Example: `gephyra db backup gephyra.backup --data gephyra-data`
    """
    _run(["backup", str(file)], data, database_url, as_json)


@app.command("gc")
def gc(
    data: _Data = _DEFAULT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    grace: Annotated[float, typer.Option(metavar="HOURS", help="What is younger stays.")] = 24.0,
    database_url: DatabaseUrl = "",
    artefacts_url: ArtefactsUrl = "",
    as_json: Json = False,
) -> None:
    """Remove content that nothing needs: of deleted targets and samplers, uploads nobody took, logs of deleted jobs.

    A running server does the same once a day. This is for one that is stopped; with `--dry-run` it may be running.

    Example: `gephyra db gc --data gephyra-data --dry-run`
    """
    words = ["gc", "--grace", str(grace), *["--dry-run"] * dry_run]
    _run(words, data, database_url, as_json, artefacts_url)


def _run(words: list[str], data: Path, database_url: str, as_json: bool, artefacts_url: str = "") -> None:
    """The command takes this process' place, with its exit code."""
    require_server()
    command = [*server_module("gephyra.service.administer"), *words, "--data", str(data)]
    environment = {**server_environment(), DATABASE_URL: database_url, ARTEFACTS_URL: artefacts_url}
    os.execve(command[0], command + ["--json"] * as_json, environment)
