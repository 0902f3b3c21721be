"""Uploaded tables of numbers in blocks of rows: raw arrays and .npy files. Nothing is unpickled.

Blocks are views of the file: nothing is loaded before it is used. Blocking.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gephyra.protos import tensor_pb2

from .config import Limits
from .errors import InvalidArgument, Reason
from .faults import fault
from .tensors import DTYPES, dtype_name

__all__ = ["Block", "Table", "check_array", "check_extent", "read_array", "read_npy", "refuse_foreign"]

_BLOCK_BYTES = 4 << 20
_FOREIGN: Mapping[bytes, str] = {
    b"\x93NUMPY": "an .npy file",
    b"PK\x03\x04": "a zip archive (.npz, .xlsx, .pt)",
    b"PAR1": "a Parquet file: convert it where the `parquet` extra is installed",
    b"\x89HDF": "an HDF5 file",
    b"\x80": "a pickle, which is never read",
    b"\x1f\x8b": "compressed: send it unpacked",
}


class Block(NamedTuple):
    """Some rows of a table."""

    values: NDArray[Any]
    """`rows x width`."""
    lines: NDArray[np.int64] | None
    """The line of each row where the source is a text, from 1."""


class Table(NamedTuple):
    """A source that was opened, not read."""

    dtype: np.dtype[Any]
    """Of the values of all blocks."""
    width: int
    headings: tuple[str, ...]
    """Names of the columns where the source has some, else empty."""
    blocks: Iterator[Block]


def check_extent(rows: int, width: int, itemsize: int, field: str, limits: Limits) -> None:
    """Raises InvalidArgument for a table that is empty, too wide or too large, with at least so many rows."""
    if rows < 1 or width < 1:
        raise fault(Reason.DATA_EMPTY, field, f"expected at least 2 rows and 1 column, got {rows} x {width}")
    if width > limits.max_dim:
        raise fault(Reason.DATA_TOO_LARGE, field, f"expected at most {limits.max_dim} columns, got {width}")
    size, most = rows * width * itemsize, limits.max_dataset_bytes
    if size > most:
        raise fault(Reason.DATA_TOO_LARGE, field, f"expected at most {most} bytes of values, got at least {size}")


def refuse_foreign(path: Path, field: str, expected: str, own: bytes = b"") -> None:
    """Raises InvalidArgument for a file that begins as one of another format; `own` is how ours may begin."""
    with path.open("rb") as file:
        head = file.read(1024)
    for magic, what in _FOREIGN.items():
        if head.startswith(magic) and magic != own:
            raise fault(Reason.DATA_FORMAT_REFUSED, field, f"expected {expected}, this is {what}")


def check_array(array: tensor_pb2.BlobArray, limits: Limits) -> tuple[np.dtype[Any], tuple[int, int]]:
    """Type and shape of a raw array, whose bytes may not have come yet. Raises InvalidArgument."""
    try:
        dtype = np.dtype(dtype_name(array.dtype, "array.dtype")).newbyteorder("<")
    except ValueError:
        raise _dtype_fault(f"number {array.dtype}", "array.dtype") from None
    return dtype, _checked_shape(tuple(array.shape), dtype.itemsize, "array.shape", limits)


def read_array(array: tensor_pb2.BlobArray, path: Path, limits: Limits) -> Table:
    """The table in raw bytes of the type and shape that were declared. Raises InvalidArgument."""
    dtype, shape = check_array(array, limits)
    size, expected = path.stat().st_size, shape[0] * shape[1] * dtype.itemsize
    if size != expected:
        description = f"shape {list(shape)} needs {expected} bytes, the blob has {size}"
        raise InvalidArgument.at(Reason.BLOB_MISMATCH, "array", description)
    return _table(np.memmap(path, dtype, "r", shape=shape))


def read_npy(path: Path, limits: Limits) -> Table:
    """The table in an .npy file. Raises InvalidArgument."""
    magic = np.lib.format.MAGIC_PREFIX
    refuse_foreign(path, "npy", "an .npy file", magic)
    if path.stat().st_size < len(magic):
        raise fault(Reason.DATA_FORMAT_REFUSED, "npy", "expected an .npy file, this one ends before its header")
    shape, dtype = _npy_header(path)
    if dtype.hasobject:
        description = "its array holds Python objects, which are pickled and never read; save an array of numbers"
        raise fault(Reason.DATA_FORMAT_REFUSED, "npy", description)
    if dtype.name not in DTYPES:
        raise _dtype_fault(str(dtype), "npy")
    _checked_shape(shape, dtype.itemsize, "npy", limits)
    try:
        values: Any = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise _unreadable(error) from None
    left = path.stat().st_size - values.offset - values.nbytes
    if left:
        raise fault(Reason.DATA_FORMAT_REFUSED, "npy", f"{left} bytes follow its array; save one array a file")
    return _table(values)


def _npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array in an .npy file. Raises InvalidArgument."""
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            # Version 3 is for names of fields beyond latin-1, and an array of numbers has no fields.
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, _, dtype = read(file)
        except Exception as error:  # numpy hands the header to parsers of Python, which raise what they like.
            raise _unreadable(error) from None
    return shape, dtype


def _unreadable(error: Exception) -> InvalidArgument:
    return fault(Reason.DATA_FORMAT_REFUSED, "npy", f"this is no .npy file that can be read: {error}")


def _table(values: NDArray[Any]) -> Table:
    dtype = np.dtype(np.uint8) if values.dtype == np.bool_ else values.dtype.newbyteorder("<")
    return Table(dtype, values.shape[1], (), _blocks(values, dtype))


def _blocks(values: NDArray[Any], dtype: np.dtype[Any]) -> Iterator[Block]:
    rows = max(1, _BLOCK_BYTES // (values.shape[1] * values.itemsize))
    for first in range(0, len(values), rows):
        part = np.ascontiguousarray(values[first : first + rows])
        # A byte of 2 is true, and no array of booleans may hold it.
        yield Block(part.view(np.uint8) != 0 if part.dtype == np.bool_ else part, None)


def _checked_shape(shape: tuple[int, ...], itemsize: int, field: str, limits: Limits) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 0:
        hint = "x[:, None] makes a column of a vector, x.reshape(len(x), -1) rows of images"
        raise fault(Reason.DATA_SHAPE_INVALID, field, f"expected (rows, columns), got {list(shape)[:20]}; {hint}")
    check_extent(*shape, itemsize, field, limits)
    if shape[0] == 1:
        raise fault(Reason.DATA_ONE_ROW, field, "expected at least 2 rows, got 1")
    return shape[0], shape[1]


def _dtype_fault(what: str, field: str) -> InvalidArgument:
    description = f"expected numbers of a type among {', '.join(sorted(DTYPES))}, got {what}; convert them"
    return fault(Reason.DATA_DTYPE_UNSUPPORTED, field, description)
