"""Tells a full disk from other faults, so that it is told as what it is: an operator can free space, and go on."""

import errno
import sqlite3

__all__ = ["MESSAGE", "is_full"]

MESSAGE = "the server's disk is full, or its files may not grow; free space in its data folder, then try again"

_SYSTEM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# SQLite has a code of its own for ENOSPC only.
_SQLITE = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
# `disk_full`, as psycopg's errors have it.
_POSTGRESQL = "53100"


def is_full(error: BaseException) -> bool:
    """Whether this error, or the one behind it, says that there is no more room on the disk."""
    # SQLAlchemy, which a worker does not load, has the driver's error inside its own.
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", None) in _SQLITE
    if isinstance(cause, OSError):
        return cause.errno in _SYSTEM
    return getattr(cause, "sqlstate", None) == _POSTGRESQL
