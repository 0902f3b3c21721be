"""Commands on the data sets of the sampling literature."""

from pathlib import Path
from typing import Annotated

import typer

from ..datasets import DATASETS, ScikitLearn, fetch
from ..errors import InvalidArgument, Violation
from .options import Json
from .output import print_json, print_rows

__all__ = ["app", "fetching", "listing"]

app = typer.Typer(no_args_is_help=True, help="Get the data sets of the sampling literature as CSV files.")

_Folder = Annotated[
    Path, typer.Option("--folder", "-f", envvar="GEPHYRA_DATA", help="Folder of the files; made if it is not there.")
]
_DEFAULT = Path("gephyra-datasets")


@app.command("list")
def listing(folder: _Folder = _DEFAULT, as_json: Json = False) -> None:
    """List the data sets, and which of them are in the folder.

    Example: `gephyra data list --folder gephyra-datasets`
    """
    records = [
        {
            "name": each.name,
            "file": each.file,
            "rows": each.rows,
            "columns": len(each.columns),
            "there": (folder / each.file).exists(),
            "origin": each.origin,
        }
        for each in DATASETS.values()
    ]
    if as_json:
        print_json(records)
        return
    rows = [
        (
            str(r["name"]),
            str(r["file"]),
            f"{r['rows']} x {r['columns']}",
            "yes" if r["there"] else "no",
            str(r["origin"]),
        )
        for r in records
    ]
    print_rows(("data set", "file", "rows x columns", "there", "origin"), rows, names=("file",))


@app.command("fetch")
def fetching(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Left out: all that need no file of yours.")
    ] = None,
    folder: _Folder = _DEFAULT,
    from_file: Annotated[
        Path | None, typer.Option("--from-file", help="Take one data set from this CSV file; pines come so only.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that hold something else.")] = False,
    as_json: Json = False,
) -> None:
    """Write data sets as CSV files: from openml.org and scikit-learn (the `data` extra), or from the package.

    Example: `gephyra data fetch sonar credit --folder gephyra-datasets`
    """
    if from_file is not None and len(names or ()) != 1:
        sentence = f"--from-file gives one data set: name one of {', '.join(DATASETS)}"
        raise InvalidArgument(sentence, violations=[Violation("from-file", sentence)])
    online, records = ScikitLearn(), []
    for name in names or [name for name in DATASETS if name != "pines"]:
        table = fetch(name, online, from_file)
        layout = DATASETS[name]
        written = layout.write(table, folder, force)
        records.append(
            {
                "name": name,
                "file": layout.file,
                "rows": table.shape[0],
                "columns": table.shape[1],
                "written": written,
                "as_reference": layout.same_as_reference(table),
            }
        )
    print_json(records) if as_json else _print(records, folder)


def _print(records: list[dict[str, str | int | bool]], folder: Path) -> None:
    rows = [
        (
            str(r["name"]),
            str(r["file"]),
            f"{r['rows']} x {r['columns']}",
            "written" if r["written"] else "was there",
            "yes" if r["as_reference"] else "NO: published values of log Z do not apply",
        )
        for r in records
    ]
    print_rows(
        ("data set", "file", "rows x columns", "file was", "as in the literature"), rows, str(folder), names=("file",)
    )
