"""The data folder: may we write there, is there room, who has it, which version is its database, and its clock."""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from .finding import Finding, Level, Setup

__all__ = ["check_clock", "check_disk", "check_folder", "check_schema", "lock_owner"]

_MIB = 2**20
_LEAST_FREE, _LITTLE_FREE = 64 * _MIB, 2**30
# A commit waits for the disk; a folder on a slow network makes every call slow.
_SLOW_SYNC = 0.1
_SKEW_SECONDS = 2.0
# 22 November 2026, when the first version was made.
_FIRST_RELEASE = 1_795_305_600


def check_folder(setup: Setup) -> Iterator[Finding]:
    """It can be made or written, flushed in time, and belongs to one server, or to several on one PostgreSQL."""
    name, folder = "data folder", setup.data
    place = _existing(folder)
    try:
        seconds = _write(place)
    except OSError as error:
        yield Finding(name, Level.STOP, f"cannot write in {place}: {error.strerror}", _advice(folder, place))
        return
    made = str(folder) if place == folder else f"{folder} (it will be made)"
    slow = seconds > _SLOW_SYNC
    yield Finding(
        name, Level.WARNING if slow else Level.OK, f"{made}; flushing a file takes {1000 * seconds:.1f} ms",
        "every write waits for that: choose a folder on a local disk" if slow else "",
    )  # fmt: skip
    owner = lock_owner(folder)
    if owner:
        yield Finding("owner", Level.OK, owner)


def check_disk(setup: Setup) -> Iterator[Finding]:
    """There is room for checkpoints, samplers and data."""
    free = shutil.disk_usage(_existing(setup.data)).free
    found = f"{free / 2**30:.1f} GiB free"
    level = Level.STOP if free < _LEAST_FREE else Level.WARNING if free < _LITTLE_FREE else Level.OK
    advice = "free space or choose another folder: checkpoints, samplers and data sets go there"
    yield Finding("disk", level, found, "" if level is Level.OK else advice)


def check_schema(setup: Setup) -> Iterator[Finding]:
    """The database is of a version that this gephyra knows."""
    from ..store.versions import latest

    name, path, known = "database", setup.data / "gephyra.sqlite3", latest()
    if setup.database_url or not path.exists():
        if not setup.database_url:
            yield Finding(name, Level.OK, "none yet; it will be made")
        return
    try:
        version = _schema_version(path)
    except sqlite3.Error as error:
        advice = "restore it from a backup, or choose another folder"
        yield Finding(name, Level.STOP, f"{path.name} cannot be read: {error}", advice)
        return
    if version > known:
        advice = "use the gephyra that made it, or another data folder"
        found = f"schema version {version}; this gephyra knows those up to {known}"
        yield Finding(name, Level.STOP, found, advice)
    elif version < known:
        advice = "back the folder up first, if an earlier gephyra may have to open it again"
        found = f"schema version {version}; the next start makes it {known}"
        yield Finding(name, Level.WARNING, found, advice)
    else:
        yield Finding(name, Level.OK, f"schema version {version}, {path.stat().st_size / _MIB:.1f} MiB")


def check_clock(setup: Setup) -> Iterator[Finding]:
    """The clock is not before this program was made, and agrees with that of the data folder's disk."""
    name, now = "clock", time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _FIRST_RELEASE:
        yield Finding(
            name, Level.WARNING, f"{shown}: before this program was made", "set the clock, and keep it by NTP"
        )
        return
    try:
        skew = _skew(_existing(setup.data))
    except OSError:
        # The folder's own check says so.
        skew = 0.0
    if abs(skew) > _SKEW_SECONDS:
        found = f"{shown}; files of the data folder are {skew:+.0f} s off"
        yield Finding(name, Level.WARNING, found, "keep this machine and its file server on time by NTP")
        return
    yield Finding(name, Level.OK, shown)


def lock_owner(folder: Path) -> str:
    """The server that owns the folder, or the servers that share it; empty if there is none."""
    import fcntl

    from ..presence import living

    several = living(folder / "servers")
    if several:
        return f"running servers, by host and process: {', '.join(several)}"
    try:
        handle = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return ""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return f"a running server, process {os.read(handle, 64).decode(errors='replace').strip() or 'unknown'}"
    finally:
        os.close(handle)
    return ""


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))


def _write(folder: Path) -> float:
    """Write a file, flush it to the disk, remove it; seconds for the flush."""
    with tempfile.TemporaryFile(dir=folder, prefix=".gephyra-doctor-") as file:
        file.write(b"x" * 4096)
        file.flush()
        started = time.perf_counter()
        os.fsync(file.fileno())
        return time.perf_counter() - started


def _skew(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder, prefix=".gephyra-doctor-") as file:
        file.write(b"x")
        file.flush()
        return os.fstat(file.fileno()).st_mtime - time.time()


def _advice(folder: Path, place: Path) -> str:
    if not place.is_dir():
        return f"{place} is not a folder: choose another with --data"
    return f"give this user the right to write there, or choose another folder than {folder} with --data"


def _schema_version(path: Path) -> int:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        row = connection.execute("SELECT version FROM versions WHERE subject = 'schema'").fetchone()
    return int(row[0]) if row else 0
