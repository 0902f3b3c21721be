"""Commands on targets."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..definition import catalogue
from ..errors import InvalidArgument, Violation
from .options import Folder, Json, Server, connect
from .output import identifier, print_facts, print_json, print_rows, say
from .tabular import read_array

__all__ = ["add_catalogue", "add_model", "app", "delete", "listing", "show"]

app = typer.Typer(no_args_is_help=True, help="List, show, add and delete targets.")

_Name = Annotated[str, typer.Argument(help="Name or id of the target.")]


@app.command("list")
def listing(server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """List all targets.

    Example: `gephyra targets list --folder runs`
    """
    with connect(server, folder) as client:
        targets = client.targets()
    if as_json:
        print_json([target.to_json() for target in targets])
    else:
        rows = [(identifier(target.name), target.state.value, str(target.dim), target.source) for target in targets]
        print_rows(("target", "state", "dim", "source"), rows)


@app.command("show")
def show(name: _Name, server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """Show one target.

    Example: `gephyra targets show my-funnel --folder runs`
    """
    with connect(server, folder) as client:
        target = client.target(name)
    print_json(target.to_json()) if as_json else print_facts(target.name, target.rows())


@app.command("add-catalogue")
def add_catalogue(
    family: Annotated[str, typer.Argument(help="Family of the catalogue; `gephyra info` lists them.")],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]...",
            help="Numbers, words, lists in brackets, or @FILE for a .npy or .csv file, with or without headings.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Id of the target; the server makes one if it is left out.")] = None,
    server: Server = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Register a target of the catalogue.

    Example: `gephyra targets add-catalogue funnel dim=10 --name my-funnel --folder runs`
    """
    definition = catalogue(family, **dict(_parameter(text) for text in parameters or []))
    with connect(server, folder) as client:
        target = client.register(definition, name=name)
    print_json(target.to_json()) if as_json else print_facts(target.name, target.rows())


@app.command("add-model")
def add_model(
    sampler: Annotated[str, typer.Argument(help="Name or id of a sampler that is a model of data.")],
    name: Annotated[str | None, typer.Option(help="Id of the target; the server makes one if it is left out.")] = None,
    server: Server = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Register a model of data as a target: its density has log Z = 0.

    Example: `gephyra targets add-model sampler-0a1b2c3d4e5f --name my-model --folder runs`
    """
    with connect(server, folder) as client:
        target = client.register(client.sampler(sampler), name=name)
    print_json(target.to_json()) if as_json else print_facts(target.name, target.rows())


@app.command("delete")
def delete(name: _Name, server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """Delete a target that no job and no sampler needs.

    Example: `gephyra targets delete my-funnel --folder runs`
    """
    with connect(server, folder) as client:
        target = client.target(name)
        target.delete()
    print_json({"deleted": target.name}) if as_json else say(f"deleted {target.name}")


def _parameter(text: str) -> tuple[str, Any]:
    """NAME=VALUE as name and value. Raises InvalidArgument for anything else."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        sentence = f"parameters are written NAME=VALUE, got {text!r}"
        raise InvalidArgument(sentence, reason="PARAMETER_INVALID", violations=[Violation("parameters", sentence)])
    if value.startswith("@"):
        return name, _array(name, Path(value[1:]))
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _array(name: str, path: Path) -> Any:
    """The array in a file."""
    try:
        return read_array(path)
    except ValueError as error:
        sentence = f"parameter {name}: {path} holds no array of numbers ({error})"
        raise InvalidArgument(sentence, reason="PARAMETER_INVALID", violations=[Violation(name, sentence)]) from None
