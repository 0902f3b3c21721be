"""From an uploaded blob to the content of a data set: every value examined, facts of every column found. Blocking."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from gephyra.protos import dataset_service_pb2 as pb

from .artefacts import Artefacts
from .config import Limits
from .csv_table import read_csv
from .errors import Reason
from .facts import column_facts
from .faults import Place, fault
from .store.records import ColumnFacts
from .tables import Block, Table, check_array, check_extent, read_array, read_npy
from .writing import ArtefactWriter

__all__ = ["Ingested", "blob_name", "check_finite", "check_request", "column_names", "ingest"]

_MOST_NAME_BYTES = 200

_Reader: TypeAlias = Callable[[pb.CreateDatasetRequest, Path, Limits], Table]

_READERS: Mapping[str, _Reader] = {
    "array": lambda request, path, limits: read_array(request.array, path, limits),
    "npy": lambda request, path, limits: read_npy(path, limits),
    "csv": lambda request, path, limits: read_csv(path, limits),
}


class Ingested(NamedTuple):
    """Content that is stored, and what is known of it."""

    content: str
    """SHA-256 of the values, little-endian in C order: their address."""
    digest: str
    """SHA-256 of names, type, shape and values."""
    rows: int
    dtype: str
    facts: tuple[ColumnFacts, ...]


def blob_name(request: pb.CreateDatasetRequest) -> tuple[str, str]:
    """The name of the blob in a request and the path of its field. Raises InvalidArgument if there is no source."""
    kind = request.WhichOneof("source")
    if kind is None:
        raise fault(Reason.FIELD_INVALID, "source", "expected one of array, npy and csv, got none")
    return getattr(request, kind).blob, f"{kind}.blob"


def check_request(request: pb.CreateDatasetRequest, limits: Limits) -> None:
    """Raises InvalidArgument for what is wrong whatever the bytes: so much is told before they are sent."""
    if request.HasField("array"):
        _, (_, width) = check_array(request.array, limits)
        column_names(request.column_names, width, ())
    elif request.column_names:
        column_names(request.column_names, len(request.column_names), ())


def ingest(request: pb.CreateDatasetRequest, blob: Path, contents: Artefacts, limits: Limits) -> Ingested:
    """Examine the data in a blob and store their values.

    Args:
        request: Says how the blob is to be read.
        blob: Its file.
        contents: Where values go.
        limits: Bounds to keep.

    Raises:
        InvalidArgument: Naming the first row and column at fault.
    """
    kind = request.WhichOneof("source") or ""
    table = _READERS[kind](request, blob, limits)
    names = column_names(request.column_names, table.width, table.headings)
    with contents.writer() as writer:
        rows = _copy(table, names, writer, kind, limits)
        content = writer.commit()
    values = np.memmap(contents.path(content), table.dtype, "r", shape=(rows, table.width))
    dtype = table.dtype.name
    identity = json.dumps([dtype, rows, names, content]).encode()
    return Ingested(content, hashlib.sha256(identity).hexdigest(), rows, dtype, column_facts(values, names))


def _copy(table: Table, names: Sequence[str], writer: ArtefactWriter, field: str, limits: Limits) -> int:
    """Write all values; how many rows. Raises InvalidArgument."""
    rows = 0
    for block in table.blocks:
        check_finite(block, rows, names, field)
        rows += len(block.values)
        check_extent(rows, table.width, table.dtype.itemsize, field, limits)
        writer.write(block.values.astype(table.dtype, copy=False).tobytes())
    if rows < 2:
        description = f"expected at least 2 rows, got {rows}"
        raise fault(Reason.DATA_ONE_ROW if rows else Reason.DATA_EMPTY, field, description)
    return rows


def check_finite(block: Block, first_row: int, names: Sequence[str], field: str) -> None:
    """Raises InvalidArgument (DATA_NOT_FINITE) naming the first place of a block that is not a finite number."""
    finite = np.isfinite(block.values)
    if finite.all():
        return
    row, column = (int(index) for index in np.argwhere(~finite)[0])
    line = None if block.lines is None else int(block.lines[row])
    description = f"expected a finite number, got {block.values[row, column]}; leave out or fill what is missing"
    place = Place(first_row + row, column, names[column], line)
    raise fault(Reason.DATA_NOT_FINITE, field, description, place)


def column_names(given: Sequence[str], width: int, headings: Sequence[str]) -> list[str]:
    """A name a column: those of the request, else those of the source, else x0, x1, ... Raises InvalidArgument."""
    names = list(given) or list(headings) or [f"x{index}" for index in range(width)]
    if len(names) != width:
        raise fault(Reason.COLUMN_NAMES_INVALID, "column_names", f"expected {width} names, got {len(names)}")
    first: dict[str, int] = {}
    for column, name in enumerate(names):
        place = Place(column=column)
        if not name.strip() or not name.isprintable() or len(name.encode()) > _MOST_NAME_BYTES:
            came = repr(name)[:60] if name.strip() else "none (is it an index? leave it out)"
            description = f"expected a printable name of at most {_MOST_NAME_BYTES} bytes in UTF-8, got {came}"
            raise fault(Reason.COLUMN_NAMES_INVALID, "column_names", description, place)
        if first.setdefault(name, column) != column:
            description = f"expected distinct names, {name!r} is that of column {first[name]} too"
            raise fault(Reason.COLUMN_NAMES_INVALID, "column_names", description, place)
    return names
