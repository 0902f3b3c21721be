"""Commands on the data sets of a server."""

from pathlib import Path
from typing import Annotated

import typer

from ..dataset_facts import bytes_text
from .options import Folder, Json, Server, connect
from .output import identifier, print_facts, print_json, print_rows, say

__all__ = ["app", "delete", "listing", "show", "upload"]

app = typer.Typer(
    no_args_is_help=True,
    help="""Upload, list, show and delete data sets: tables of numbers, a row an observation.

To get those of the literature as files: `gephyra data fetch`.
""",
)

_Name = Annotated[str, typer.Argument(help="Name or id of the data set.")]


@app.command("upload")
def upload(
    file: Annotated[Path, typer.Argument(help="A .csv, .tsv, .npy or .parquet file (`gephyra[parquet]`).")],
    name: Annotated[str | None, typer.Option(help="Id of the data set; by default the server makes one.")] = None,
    columns: Annotated[str | None, typer.Option(help="Names of the columns, parted by commas.")] = None,
    display_name: Annotated[str | None, typer.Option(help="A name for people; by default the file's.")] = None,
    server: Server = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Upload a file, and show what its columns are like.

    Every value must be a finite number; a refusal names the row (from 0), the column, and the line of a text. Headings
    of a CSV file are found by themselves. An upload that breaks goes on where it broke, also in another run.

    Example: `gephyra dataset upload digits.csv --name digits --folder runs`
    """
    names = None if columns is None else columns.split(",")
    with connect(server, folder) as client:
        dataset = client.upload(file, name, columns=names, display_name=display_name)
    print_json(dataset.to_json()) if as_json else print_facts(dataset.name, dataset.rows())


@app.command("list")
def listing(server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """List all data sets.

    Example: `gephyra dataset list --folder runs`
    """
    with connect(server, folder) as client:
        datasets = client.datasets()
    if as_json:
        print_json([dataset.to_json() for dataset in datasets])
        return
    rows = [
        (
            identifier(each.name),
            f"{each.shape[0]} x {each.shape[1]}",
            each.dtype,
            bytes_text(each.size_bytes),
            "yes" if each.on_levels else "no",
            each.display_name,
        )
        for each in datasets
    ]
    print_rows(("data set", "rows x columns", "type", "bytes", "on levels", "shown as"), rows)


@app.command("show")
def show(name: _Name, server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """Show one data set with its columns: ends, distinct values, and where a density makes no sense.

    Example: `gephyra dataset show digits --folder runs`
    """
    with connect(server, folder) as client:
        dataset = client.dataset(name)
    if as_json:
        print_json(dataset.to_json())
        return
    print_facts(dataset.name, dataset.rows())
    words = ("constant", "tied", "on_levels")
    rows = [
        (
            column.name,
            f"{column.minimum:g}",
            f"{column.maximum:g}",
            str(column.distinct),
            ", ".join(word.replace("_", " ") for word in words if getattr(column, word)),
        )
        for column in dataset.facts.values()
    ]
    print_rows(("column", "minimum", "maximum", "distinct", "is"), rows)


@app.command("delete")
def delete(name: _Name, server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """Delete a data set, and its values unless another data set has the same.

    Example: `gephyra dataset delete digits --folder runs`
    """
    with connect(server, folder) as client:
        dataset = client.dataset(name)
        dataset.delete()
    print_json({"deleted": dataset.name}) if as_json else say(f"deleted {dataset.name}")
