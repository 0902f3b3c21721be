"""Versions of the tables: which a database has, what leads to the latest, and whether it is what it says.

The number in the table `versions` is what every gephyra looks at, those before alembic too. alembic keeps a record of
its own, which is brought in line before anything is changed. alembic is imported where it is used: a database that is
up to date needs none of it.
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, inspect, select, update

from .places import place_of
from .schema import metadata, versions

__all__ = ["SchemaMismatch", "differences", "latest", "refuse_later", "upgrade", "version"]

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent / "migrations"
_SUBJECT = "schema"


class SchemaMismatch(Exception):
    """The database was made by a later version of gephyra, with other tables."""


def latest() -> int:
    """The version that this gephyra reads and writes."""
    found = (re.fullmatch(r"r(\d+)_\w+", path.stem) for path in _FOLDER.glob("*.py"))
    return max(int(match[1]) for match in found if match)


def version(connection: Connection) -> int:
    """The version of a database; 0 for an empty one."""
    if not inspect(connection).has_table(versions.name):
        return 0
    return connection.scalar(select(versions.c.version).where(versions.c.subject == _SUBJECT)) or 0


def upgrade(connection: Connection) -> int:
    """Bring a database to the latest version, an empty one too, within one transaction; the version it had.

    Raises SchemaMismatch for a later version's, DatabaseInUse where a server of an earlier one is at work.
    """
    found, wanted = version(connection), latest()
    refuse_later(found)
    if found < wanted:
        if found:
            place_of(connection).exclude(connection, found)
        _run_migrations(connection, found)
        connection.execute(
            update(versions).where(versions.c.subject == _SUBJECT).values(version=wanted)
            if found
            else insert(versions).values(subject=_SUBJECT, version=wanted)
        )
        logger.info("the database went from schema version %d to %d", found, wanted)
    return found


def refuse_later(found: int) -> None:
    """Raise SchemaMismatch if this version is not known yet."""
    if found > latest():
        raise SchemaMismatch(
            f"the database has schema version {found}, this gephyra knows those up to {latest()}; "
            "use the gephyra that made it, or another data folder"
        )


def differences(connection: Connection) -> list[str]:
    """In what the tables are not those of `schema`; nothing if all is well. For a database of the latest version."""
    from alembic.autogenerate import compare_metadata

    return [repr(each) for each in compare_metadata(_context(connection, {"target_metadata": metadata}), metadata)]


def _run_migrations(connection: Connection, found: int) -> None:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationStep
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(_FOLDER, version_locations=[_FOLDER])

    def steps(heads: Any, context: Any) -> Iterable[MigrationStep]:
        missing = list(scripts.iterate_revisions("head", heads, implicit_base=True))
        return [MigrationStep.upgrade_from_script(scripts.revision_map, script) for script in reversed(missing)]

    context = _context(connection, {"fn": steps})
    if found and context.get_current_revision() != str(found):
        context.stamp(scripts, str(found))
    context.run_migrations(op=Operations(context))


def _context(connection: Connection, options: dict[str, Any]) -> Any:
    """alembic's view of the database. Transactions are ours: it is in one already, on SQLite too."""
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True, **options}
    )
