"""Arrays in .npy and text files, for commands that take one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArgument, Violation

__all__ = ["read_array", "read_rows"]


def read_array(path: Path) -> NDArray[np.float64]:
    """The array in a .npy file, or in text parted by commas, with or without headings. Raises ValueError, OSError."""
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    return np.loadtxt(path, delimiter=",", ndmin=1, skiprows=int(bool(_headings(path, ","))))


def read_rows(path: Path, names: Sequence[str]) -> NDArray[np.float64]:
    """Rows in a .npy, .csv or .tsv file, with these columns: by their names where the file has headings.

    Raises:
        InvalidArgument: For another kind of file, headings that lack a column, or what is no table of numbers.
        OSError: For a file that cannot be read.
    """
    delimiter = {".npy": "", ".csv": ",", ".tsv": "\t"}.get(path.suffix)
    if delimiter is None:
        raise _refused(f"expected a .npy, .csv or .tsv file, got {path.name!r}")
    try:
        if not delimiter:
            return np.atleast_2d(np.load(path, allow_pickle=False))
        headings = _headings(path, delimiter)
        chosen = _chosen(path, headings, names) if headings else None
        return np.loadtxt(path, delimiter=delimiter, ndmin=2, skiprows=int(bool(headings)), usecols=chosen)
    except InvalidArgument:
        raise
    except ValueError as error:
        raise _refused(f"{path} holds no rows of numbers ({error})") from None


def _chosen(path: Path, headings: Sequence[str], names: Sequence[str]) -> list[int]:
    """Where the columns are."""
    if set(names) - set(headings):
        raise _refused(
            f"expected the columns {', '.join(names)}, {path} has {', '.join(headings)}; if its columns are these, in "
            "this order, by other names, remove the line of headings"
        )
    return [headings.index(name) for name in names]


def _headings(path: Path, delimiter: str) -> list[str]:
    """The cells of the first line if none is a number, else none."""
    with path.open(encoding="utf-8-sig") as lines:
        cells = [cell.strip().strip('"') for cell in lines.readline().split(delimiter)]
    return [] if any(_is_number(cell) for cell in cells) else cells


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _refused(sentence: str) -> InvalidArgument:
    return InvalidArgument(sentence, reason="DATA_FORMAT_REFUSED", violations=[Violation("rows", sentence)])
