"""The data folder and its database: which one it is, and that the two belong together.

Content lies in the folder, rows in the database. A server removes content that no row needs, so it must never run over
the folder of one database with the rows of another. A database outside of the folder leaves its identity there, and
keeps that of the folder: servers on one database have one folder too, or could not read what others stored.
"""

import contextlib
import uuid
from pathlib import Path

from sqlalchemy import Connection, select, update

from .config import DATABASE_URL
from .errors import Unavailable
from .objects import Objects, ObjectsRefused
from .store import schema
from .store.database import Store
from .store.files import appearing
from .store.places import DatabaseRefused, Place
from .store.postgresql import PostgreSql
from .store.sqlite import Sqlite

__all__ = ["bind_objects", "find_database", "open_store", "refuse_other_objects"]

_FILE = "gephyra.sqlite3"
_MARK = "database"
_OBJECTS = "objects"
_SELF = "identity"


def find_database(data: Path, url: str) -> Place:
    """The database at a URL, or without one that in the folder. Raises DatabaseRefused if the folder has another."""
    file, mark = data / _FILE, data / _MARK
    if url:
        place = PostgreSql(url)
        if file.exists():
            raise DatabaseRefused(
                f"the data folder {data} has a database of its own, {_FILE}; use it without a database URL, or another "
                f"folder with {place.name}"
            )
        return place
    if mark.exists():
        raise DatabaseRefused(
            f"the data folder {data} belongs to a database elsewhere; give its URL by --database-url or {DATABASE_URL}"
        )
    return Sqlite(file)


def open_store(data: Path, url: str) -> Store:
    """The store of a folder whose lock the caller holds, or shares.

    Raises SchemaMismatch, DatabaseInUse, DatabaseRefused.
    """
    place = find_database(data, url)
    store = Store(place)
    if url:
        try:
            _bind(data / _MARK, store.read_now(_identity), place)
            folder = _kept(data / _SELF, str(uuid.uuid4()))
            if store.write_now(_claim, folder) != folder:
                raise DatabaseRefused(
                    f"the database {place.name} belongs to another data folder than {data}: servers on one database "
                    "share one folder; give that one, or a database of its own"
                )
        except BaseException:
            store.close()
            raise
    return store


def refuse_other_objects(data: Path, objects: Objects) -> None:
    """Raise ObjectsRefused where the folder is only a copy of what lies elsewhere than in `objects`."""
    mark = data / _OBJECTS
    if mark.exists() and (kept := mark.read_text().strip()) != objects.name:
        raise ObjectsRefused(
            f"the artefacts of the data folder {data} are kept at {kept}, not {objects.name}; give --artefacts-url "
            f"{kept} or, if all of it was copied to where they are now, remove the file {mark}"
        )


def bind_objects(data: Path, objects: Objects, store: Store) -> None:
    """Note in the objects whose they are, and in the folder where they are. Raises ObjectsRefused."""
    refuse_other_objects(data, objects)
    if not objects.elsewhere:
        return
    identity, mark = store.read_now(_identity), data / _OBJECTS
    try:
        owner = objects.claim(identity)
    except Unavailable as error:
        raise ObjectsRefused(f"{objects.name}: {error.message}") from None
    if owner != identity:
        raise ObjectsRefused(f"the artefacts at {objects.name} belong to another database; choose another prefix")
    if not mark.exists():
        with appearing(mark) as passing:
            passing.write_text(f"{objects.name}\n")


def _identity(connection: Connection) -> str:
    uid: str = connection.execute(select(schema.identity.c.uid)).scalar_one()
    return uid


def _claim(connection: Connection, folder: str) -> str:
    """The folder that a database belongs to: this one if it belonged to none."""
    connection.execute(update(schema.identity).where(schema.identity.c.folder == "").values(folder=folder))
    found: str = connection.execute(select(schema.identity.c.folder)).scalar_one()
    return found


def _kept(file: Path, text: str) -> str:
    """What the file says: the text if it is new."""
    # Another server may be faster.
    with contextlib.suppress(FileExistsError), appearing(file) as passing:
        passing.write_text(f"{text}\n")
    return file.read_text().strip()


def _bind(mark: Path, identity: str, place: Place) -> None:
    if _kept(mark, identity) != identity:
        raise DatabaseRefused(f"the data folder {mark.parent} belongs to another database than {place.name}")
