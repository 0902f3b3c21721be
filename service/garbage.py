"""Sweeps away content that no row needs any more, once it has been left alone for a time of grace. Blocking.

What there is is listed before the rows are read: content that a row names by then is needed. Content whose row comes
later was made young, and used by this process, when it was put there, adopted or held (`artefacts`), so it stays.
Nothing among the artefacts goes while a definition cannot be read, since its arrays are not known then.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from .artefacts import Artefacts
from .config import Timings
from .holdings import Holdings
from .objects import Stored
from .reach import Needed, needed
from .store.roots import Roots, forget_blobs, roots

__all__ = ["Piece", "Rows", "Swept", "sweep"]


class Piece(NamedTuple):
    """Something that a sweep took, or would take."""

    name: str
    """Path from the data folder, or key among the objects."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, or would do."""

    pieces: tuple[Piece, ...]
    unreadable: tuple[str, ...]
    """Needed definitions that are missing or damaged: nothing among the artefacts was taken because of them."""

    @property
    def size(self) -> int:
        """Bytes of all pieces."""
        return sum(piece.size for piece in self.pieces)


class Rows(NamedTuple):
    """How a sweep reaches the database."""

    read: Callable[[Callable[[Connection, int], Roots], int], Roots]
    write: Callable[[Callable[[Connection, int], int], int], int] | None
    """None: nothing is to be changed, neither rows nor files."""


@dataclass(frozen=True, slots=True)
class _Age:
    """What is old enough to go."""

    horizon: float
    """Modified before, in seconds since 1970."""
    grace: float
    """Not used for so many seconds."""
    dry: bool


def sweep(holdings: Holdings, rows: Rows, now: float, grace: float, go_on: Callable[[], bool] = lambda: True) -> Swept:
    """Take what no row needs and nobody touched for `grace` seconds.

    Args:
        holdings: What there is.
        rows: The database.
        now: Seconds since 1970.
        grace: At least as long as a request takes from storing content to its row. Blobs wait `Timings.blob` at least.
        go_on: Asked between pieces; what is not done is left to another sweep.

    Raises:
        Unavailable: The objects or the database are away.
    """
    blob = max(grace, Timings().blob)
    listed = [(store, list(store.files()), list(store.kept())) for store in (holdings.artefacts, holdings.datasets)]
    folders = list(holdings.jobs.glob("*"))
    found = rows.read(roots, int((now - blob) * 1e6))
    reach = needed(found, holdings.artefacts.peek)
    age, waiting = _Age(now - grace, grace, rows.write is None), _Age(now - blob, blob, rows.write is None)
    pieces: list[Piece] = []
    for piece in _garbage(holdings, listed, reach, age):
        pieces.append(piece)
        if not go_on():
            break
    else:
        pieces += _uploads(holdings, waiting)
        pieces += [_folder(path, age.dry) for path in folders if path.name not in found.jobs and _old(path, age)]
        if rows.write is not None:
            rows.write(forget_blobs, int(waiting.horizon * 1e6))
    return Swept(tuple(pieces), tuple(sorted(reach.unreadable)))


def _garbage(
    holdings: Holdings, listed: Iterable[tuple[Artefacts, list[Stored], list[Stored]]], reach: Needed, age: _Age
) -> Iterator[Piece]:
    wanted = {id(holdings.artefacts): reach.artefacts, id(holdings.datasets): reach.datasets}
    for store, files, kept in listed:
        if store is holdings.artefacts and reach.unreadable:
            continue
        stay = wanted[id(store)]
        yield from _from_folder(holdings, store, (each for each in files if each.key not in stay), age)
        yield from _from_objects(store, (each for each in kept if each.key not in stay), age)


def _from_folder(holdings: Holdings, store: Artefacts, files: Iterable[Stored], age: _Age) -> Iterator[Piece]:
    for each in files:
        if each.modified < age.horizon and (age.dry or store.sweep_file(each.key, age.horizon, age.grace)):
            yield Piece(str(store.path(each.key).relative_to(holdings.artefacts.folder.parent)), each.size)


def _from_objects(store: Artefacts, kept: Iterable[Stored], age: _Age) -> Iterator[Piece]:
    for each in kept:
        if each.modified < age.horizon and (age.dry or store.sweep_object(each.key, age.horizon, age.grace)):
            yield Piece(f"{store.objects.name}: {store.key(each.key)}", each.size)


def _uploads(holdings: Holdings, age: _Age) -> Iterator[Piece]:
    """Blobs that nobody took, and beginnings of some."""
    whole = holdings.uploads.whole
    yield from _from_folder(holdings, whole, list(whole.files()), age)
    yield from _from_objects(whole, list(whole.kept()), age)
    for path in holdings.uploads.unfinished():
        if _old(path, age):
            yield Piece(str(path.relative_to(holdings.artefacts.folder.parent)), path.stat().st_size)
            if not age.dry:
                path.unlink(missing_ok=True)


def _old(path: Path, age: _Age) -> bool:
    """Whether nothing at or below a path is young."""
    try:
        return all(each.stat().st_mtime < age.horizon for each in (path, *path.rglob("*")))
    except FileNotFoundError:
        # Somebody else is just taking it away.
        return False


def _folder(path: Path, dry: bool) -> Piece:
    """The folder of a job that is gone."""
    piece = Piece(f"{path.parent.name}/{path.name}", sum(p.stat().st_size for p in path.rglob("*") if p.is_file()))
    if not dry:
        shutil.rmtree(path, ignore_errors=True)
    return piece
