"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import click
import typer

from ..errors import InvalidArgument, Violation
from ..local import ARTEFACTS_URL, DATABASE_URL
from ..sync import Client

__all__ = ["ArtefactsUrl", "DatabaseUrl", "Folder", "Json", "Seed", "Server", "connect"]

Server = Annotated[
    str | None,
    typer.Option("--server", "-s", envvar="GEPHYRA_SERVER", metavar="HOST:PORT[,...]", help="A running server."),
]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", "-f", envvar="GEPHYRA_FOLDER", help="Run a server of one's own over this data folder."),
]
DatabaseUrl = Annotated[
    str,
    typer.Option(
        envvar=DATABASE_URL, metavar="URL", show_default=False,
        help="PostgreSQL in place of SQLite, postgresql+psycopg://user@host/database; needs `gephyra[postgres]`.",
    ),
]  # fmt: skip
ArtefactsUrl = Annotated[
    str,
    typer.Option(
        envvar=ARTEFACTS_URL, metavar="URL", show_default=False,
        help="Store of objects that keeps the artefacts, s3://bucket/prefix; needs `gephyra[objects]`.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
Seed = Annotated[int, typer.Option(help="Seed of the noise.")]


def connect(server: str | None, folder: Path | None) -> Client:
    """A client of the server that the options name. Raises InvalidArgument unless exactly one is named."""
    server, folder = _explicit(server, folder)
    if (server is None) == (folder is None):
        sentence = (
            "give --server HOST:PORT (or set GEPHYRA_SERVER) for a server that is running, "
            "or --folder PATH (or set GEPHYRA_FOLDER) for one of your own; one of them, not both"
        )
        raise InvalidArgument(sentence, violations=[Violation("server", sentence)])
    return Client(server) if server is not None else Client.local(str(folder))


def _explicit(server: str | None, folder: Path | None) -> tuple[str | None, Path | None]:
    """An option on the command line counts for more than the other one in the environment."""
    context = click.get_current_context(silent=True)
    if context is None or server is None or folder is None:
        return server, folder
    environment = click.core.ParameterSource.ENVIRONMENT
    if context.get_parameter_source("server") is environment:
        return None, folder
    return server, None if context.get_parameter_source("folder") is environment else folder
