"""What `client.upload` takes, as bytes to send and how the server is to read them.

Arrays go as they are; .csv and .npy files too, since the server reads both. Whatever has columns of its own (pandas,
Parquet) becomes one array here. The server examines values; what it could not see is refused here, for the same
reasons.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gephyra.protos import dataset_service_pb2, tensor_pb2

from .content import BytesContent, Content, FileContent
from .errors import InvalidArgument, Violation
from .tensors import wire_type

__all__ = ["Prepared", "prepare"]

_Request: TypeAlias = dataset_service_pb2.CreateDatasetRequest
# Numbers and booleans: the kinds of numpy's types that a table may have.
_KINDS = "fiub"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A table, ready to be sent."""

    content: Content
    request: _Request
    """Without names of the data set and id."""
    display_name: str = ""
    """The name of the file."""


def prepare(data: Any, columns: Sequence[str] | None = None) -> Prepared:
    """The table in an array, a tensor, a DataFrame or a file, with names of its columns if they are given.

    Raises:
        InvalidArgument: For something else, or a cell that is no number.
        OSError: For a file that cannot be read.
        ImportError: For a .parquet file without the `parquet` extra.
    """
    if isinstance(columns, str):
        raise _refusal("DATA_INVALID", "columns", f"columns must be a list of names, got {columns!r}")
    prepared = _of_path(Path(data)) if isinstance(data, str | os.PathLike) else _of_object(data)
    if columns is not None:
        prepared.request.column_names[:] = [str(name) for name in columns]
    return prepared


def _of_object(data: Any) -> Prepared:
    # What is not loaded cannot be what the caller has.
    torch, pandas = sys.modules.get("torch"), sys.modules.get("pandas")
    if torch is not None and isinstance(data, torch.Tensor):
        return _of_array(_from_torch(data))
    if pandas is not None and isinstance(data, pandas.DataFrame):
        names = [str(name) for name in data.columns]
        return _of_columns(names, (data.iloc[:, index].to_numpy() for index in range(len(names))), len(data))
    try:
        array = np.asarray(data)
    except ValueError:
        raise _ragged(data) from None
    return _of_array(array)


def _of_array(array: NDArray[Any]) -> Prepared:
    try:
        number = wire_type(array.dtype, "data")
    except ValueError as error:
        raise _refusal("DATA_DTYPE_UNSUPPORTED", "data", str(error)) from None
    values = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    content = BytesContent(values.reshape(-1).view(np.uint8).data if values.size else b"")
    blob = tensor_pb2.BlobArray(blob=f"blobs/{content.sha256}", dtype=number, shape=array.shape)
    return Prepared(content, _Request(array=blob))


def _of_columns(names: Sequence[str], columns: Iterable[NDArray[Any]], rows: int) -> Prepared:
    """The table of columns with names, in the smallest type that holds them all."""
    numbers = [_numbers(column, index, name) for index, (name, column) in enumerate(zip(names, columns, strict=True))]
    prepared = _of_array(np.column_stack(numbers) if numbers else np.empty((rows, 0)))
    prepared.request.column_names[:] = names
    return prepared


def _of_path(path: Path) -> Prepared:
    read = _FILES.get(path.suffix.lower())
    if read is None:
        sentence = f"data must be a file that ends in {', '.join(_FILES)}, got {path.name!r}"
        raise _refusal("DATA_FORMAT_REFUSED", "data", sentence)
    return replace(read(path), display_name=path.name)


def _csv_file(path: Path) -> Prepared:
    content = FileContent(path)
    return Prepared(content, _Request(csv=_Request.Csv(blob=f"blobs/{content.sha256}")))


def _npy_file(path: Path) -> Prepared:
    content = FileContent(path)
    return Prepared(content, _Request(npy=_Request.Npy(blob=f"blobs/{content.sha256}")))


def _parquet_file(path: Path) -> Prepared:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError as error:
        raise ImportError("Parquet files are read by pyarrow: pip install 'gephyra[parquet]'") from error
    try:
        table = parquet.read_table(path)
    except ArrowInvalid as error:
        raise _refusal("DATA_FORMAT_REFUSED", "data", f"{path} is no Parquet file that can be read: {error}") from None
    for index, name in enumerate(table.column_names):
        if table.column(index).null_count:
            missing = np.asarray(table.column(index).is_null())
            raise _not_a_number(int(missing.argmax()), index, name, None)
    return _of_columns(table.column_names, (np.asarray(column) for column in table.columns), table.num_rows)


_FILES: Mapping[str, Callable[[Path], Prepared]] = {
    ".csv": _csv_file,
    ".tsv": _csv_file,
    ".npy": _npy_file,
    ".parquet": _parquet_file,
}


def _from_torch(tensor: Any) -> NDArray[Any]:
    try:
        array: NDArray[Any] = tensor.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        sentence = f"a tensor of {tensor.dtype} on {tensor.device} has no array ({error}); convert it, say to float32"
        raise _refusal("DATA_DTYPE_UNSUPPORTED", "data", sentence) from None
    return array


def _numbers(column: NDArray[Any], index: int, name: str) -> NDArray[Any]:
    """A column as numbers; one of Python objects is looked at cell by cell."""
    if column.dtype.kind in _KINDS:
        return column
    if column.dtype != np.object_:
        sentence = f"column {name} has {column.dtype}, which is no type of numbers; convert it or leave it out"
        raise _refusal("DATA_DTYPE_UNSUPPORTED", "data", sentence, column=str(index), column_name=name)
    for row, value in enumerate(column):
        if not isinstance(value, Real | np.bool_):
            raise _not_a_number(row, index, name, value)
    return column.astype(np.float64)


def _not_a_number(row: int, column: int, name: str, value: Any) -> InvalidArgument:
    came = "nothing; leave out or fill what is missing" if value is None else f"{value!r:.60}"
    sentence = f"row {row}, column {name}: expected a number, got {came}"
    return _refusal("DATA_NOT_A_NUMBER", "data", sentence, row=str(row), column=str(column), column_name=name)


def _ragged(data: Any) -> InvalidArgument:
    """The refusal of nested sequences that make no array: the first row that is unlike the first."""
    lengths = [len(row) if hasattr(row, "__len__") else 0 for row in data]
    row = next((row for row, length in enumerate(lengths) if length != lengths[0]), 0)
    sentence = f"row {row}: expected {lengths[0]} numbers, as in the first row, got {lengths[row]}"
    return _refusal("DATA_RAGGED", "data", sentence, row=str(row))


def _refusal(reason: str, field: str, sentence: str, **metadata: str) -> InvalidArgument:
    return InvalidArgument(sentence, reason=reason, metadata=metadata, violations=[Violation(field, sentence)])
