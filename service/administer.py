"""`python -m gephyra.service.administer`: looks after the database and the content of a data folder.

Exit codes: 0 done, 1 the check found something, 2 bad arguments, 4 refused, 5 the folder or database is in use.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from .config import ARTEFACTS_URL, DATABASE_URL, Timings
from .errors import Unavailable
from .garbage import Rows, Swept, sweep
from .holdings import Holdings, open_holdings
from .home import bind_objects, find_database, open_store, refuse_other_objects
from .lock import FolderLock, FolderLocked
from .objects import ObjectsRefused, open_objects
from .soundness import find_faults
from .store.places import DatabaseInUse, DatabaseRefused, Place
from .store.versions import SchemaMismatch, differences, latest, refuse_later, version

__all__ = ["main"]

_EXIT_FOUND = 1
_EXIT_ARGUMENTS = 2
_EXIT_REFUSED = 4
_EXIT_IN_USE = 5

_FAULTS = ("differences", "damage", "missing", "corrupt")

_Record = dict[str, Any]
_Read: TypeAlias = Callable[..., Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        record, code = _COMMANDS[options.command](options)
    except (FolderLocked, DatabaseInUse) as error:
        return _complain(error, _EXIT_IN_USE)
    except (DatabaseRefused, ObjectsRefused, SchemaMismatch, Unavailable) as error:
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
    place, holdings = _present(options), _holdings(options)
    with _reading(place) as read:
        record = read(_examine, place)
        if record["version"] == latest() and not record["differences"]:
            record |= find_faults(holdings, read)
    sound = record["version"] == latest() and not any(record.get(name) for name in _FAULTS)
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


def _gc(options: argparse.Namespace) -> tuple[_Record, int]:
    place, holdings, now = _present(options), _holdings(options), time.time()
    with _reading(place) as read:
        if (found := read(version)) != latest():
            raise DatabaseRefused(
                f"the database has schema version {found}, not {latest()}: `gephyra db upgrade` first"
            )
        if options.dry_run:
            return _told(sweep(holdings, Rows(read, None), now, options.grace * 3600), place, True), 0
    with FolderLock(options.data):
        store = open_store(options.data, options.database_url)
        try:
            bind_objects(options.data, holdings.artefacts.objects, store)
            rows = Rows(store.read_now, store.write_now)
            return _told(sweep(holdings, rows, now, options.grace * 3600), place, False), 0
        finally:
            store.close()


def _told(swept: Swept, place: Place, dry: bool) -> _Record:
    return {
        "database": place.name, "dry_run": dry, "files": len(swept.pieces), "bytes": swept.size,
        "would remove" if dry else "removed": [f"{piece.name}, {piece.size} bytes" for piece in swept.pieces],
        "unreadable": list(swept.unreadable),
    }  # fmt: skip


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], tuple[_Record, int]]] = {
    "upgrade": _upgrade, "check": _check, "backup": _backup, "gc": _gc,
}  # fmt: skip


def _present(options: argparse.Namespace) -> Place:
    """The database that is meant. Raises DatabaseRefused where a folder has none: none of the commands makes one."""
    place = find_database(options.data.resolve(), options.database_url)
    if place.absent:
        raise DatabaseRefused(f"there is no database at {place.name}")
    return place


def _holdings(options: argparse.Namespace) -> Holdings:
    """What lies beside the database. Raises ObjectsRefused."""
    data, objects = options.data.resolve(), open_objects(options.artefacts_url)
    refuse_other_objects(data, objects)
    return open_holdings(data, objects)


@contextmanager
def _reading(place: Place) -> Iterator[_Read]:
    """Runs functions of a connection, each in a transaction that reads. Raises DatabaseRefused."""
    engine = place.reader(1)

    def read(function: Callable[..., Any], *arguments: Any) -> Any:
        with engine.begin() as connection:
            return function(connection, *arguments)

    try:
        yield read
    except DBAPIError as error:
        raise DatabaseRefused(f"cannot read the database {place.name}: {error.orig}") from None
    finally:
        engine.dispose()


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
    parser = argparse.ArgumentParser(
        prog="python -m gephyra.service.administer", description="Look after a data folder."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("upgrade", "bring the tables to this version"),
        (
            "check",
            "look for damage, for tables that are not those of this version, for content that is missing or corrupt",
        ),
        ("backup", "write all of one moment to a new file"),
        ("gc", "remove content that nothing needs; the server must be stopped"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the server's data folder")
        command.add_argument(
            "--database-url", default=os.environ.get(DATABASE_URL, ""), metavar="URL", help="as for the server"
        )
        command.add_argument(
            "--artefacts-url", default=os.environ.get(ARTEFACTS_URL, ""), metavar="URL", help="as for the server"
        )
        command.add_argument("--json", action="store_true", help="print JSON")
    commands.choices["backup"].add_argument("file", type=Path, metavar="FILE", help="where to; must not be there")
    collect = commands.choices["gc"]
    collect.add_argument("--dry-run", action="store_true", help="only tell; the server may be running")
    collect.add_argument(
        "--grace", type=_hours, default=Timings().grace / 3600, metavar="HOURS",
        help="what is younger stays (default 24); other servers on the same store of objects need it",
    )  # fmt: skip
    return parser


def _hours(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected 0 or more hours, got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
