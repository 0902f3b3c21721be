"""Files that appear whole or not at all."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["appearing"]


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A name beside `target` to write to; what lies there becomes `target`, durably, if the block ends well.

    Raises FileExistsError, FileNotFoundError where its folder is not there.
    """
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))
    passing = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        yield passing
        _sync(passing)
        os.link(passing, target)  # A rename would take the place of a file that is there.
    finally:
        passing.unlink(missing_ok=True)
    _sync(target.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
