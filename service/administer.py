"""`python -m gephyra.service.administer`: looks after the database of a data folder.

Exit codes: 0 done, 1 the check found something, 2 bad arguments, 4 refused, 5 the folder or database is in use.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from .config import DATABASE_URL
from .home import find_database, open_store
from .lock import FolderLock, FolderLocked
from .store.places import DatabaseInUse, DatabaseRefused, Place
from .store.versions import SchemaMismatch, differences, latest, refuse_later, version

__all__ = ["main"]

_EXIT_FOUND = 1
_EXIT_ARGUMENTS = 2
_EXIT_REFUSED = 4
_EXIT_IN_USE = 5

_Record = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        record, code = _COMMANDS[options.command](options)
    except (FolderLocked, DatabaseInUse) as error:
        return _complain(error, _EXIT_IN_USE)
    except (DatabaseRefused, SchemaMismatch) as error:
        return _complain(error, _EXIT_REFUSED)
    except FileExistsError as error:
        return _complain(f"{error.filename} is there already; choose another file", _EXIT_ARGUMENTS)
    except OSError as error:
        return _complain(error, _EXIT_ARGUMENTS)
    print(json.dumps(record) if options.json else "\n".join(_sentences(record)))
    return code


def _upgrade(options: argparse.Namespace) -> tuple[_Record, int]:
    place = _present(options)
    with FolderLock(options.data):
        store = open_store(options.data, options.database_url)
        store.close()
    return {"database": place.name, "from": store.upgraded_from, "version": latest()}, 0


def _check(options: argparse.Namespace) -> tuple[_Record, int]:
    place = _present(options)
    engine = place.reader(1)
    try:
        with engine.begin() as connection:
            record = _examine(connection, place)
    except DBAPIError as error:
        raise DatabaseRefused(f"cannot read the database {place.name}: {error.orig}") from None
    finally:
        engine.dispose()
    sound = record["version"] == latest() and not record["differences"] and not record["damage"]
    return record, 0 if sound else _EXIT_FOUND


def _examine(connection: Connection, place: Place) -> _Record:
    found = version(connection)
    refuse_later(found)
    return {
        "database": place.name,
        "version": found,
        "latest": latest(),
        "differences": differences(connection) if found == latest() else [],
        "damage": place.damage(connection),
    }


def _backup(options: argparse.Namespace) -> tuple[_Record, int]:
    place, target = _present(options), options.file.absolute()
    place.back_up(target)
    return {"database": place.name, "file": str(target), "bytes": target.stat().st_size}, 0


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], tuple[_Record, int]]] = {
    "upgrade": _upgrade, "check": _check, "backup": _backup,
}  # fmt: skip


def _present(options: argparse.Namespace) -> Place:
    """The database that is meant. Raises DatabaseRefused where a folder has none: none of the commands makes one."""
    place = find_database(options.data.resolve(), options.database_url)
    if place.absent:
        raise DatabaseRefused(f"there is no database at {place.name}")
    return place


def _sentences(record: _Record) -> list[str]:
    lines = [f"{name}: {value}" for name, value in record.items() if not isinstance(value, list)]
    lines += [f"{name}: {each}" for name, value in record.items() if isinstance(value, list) for each in value]
    if record.get("version", 0) < record.get("latest", 0):
        lines.append("an earlier version: `gephyra db upgrade`, or the next start of a server, brings it up to date")
    return lines


def _complain(error: object, code: int) -> int:
    print(f"gephyra: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gephyra.service.administer", description="Look after a database.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("upgrade", "bring the tables to this version"),
        ("check", "look for damage and for tables that are not those of this version"),
        ("backup", "write all of one moment to a new file"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the server's data folder")
        command.add_argument(
            "--database-url", default=os.environ.get(DATABASE_URL, ""), metavar="URL", help="as for the server"
        )
        command.add_argument("--json", action="store_true", help="print JSON")
    commands.choices["backup"].add_argument("file", type=Path, metavar="FILE", help="where to; must not be there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
