"""Data sets to send, good and bad, and how raw stubs send them."""

import hashlib
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gephyra.protos import blob_service_pb2, dataset_service_pb2, tensor_pb2
from gephyra.service.tensors import dtype_number
from tests.support.server import Stubs

Request = dataset_service_pb2.CreateDatasetRequest

CHUNK = 64 * 1024


def blob_of(content: bytes) -> str:
    return f"blobs/{hashlib.sha256(content).hexdigest()}"


def npy_bytes(array: NDArray[Any]) -> bytes:
    """The .npy file of an array, of whatever type."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def raw(array: NDArray[Any], shape: Sequence[int] | None = None) -> tuple[Request, bytes]:
    """The request for an array in raw bytes."""
    content = array.tobytes()
    shape = array.shape if shape is None else shape
    blob = tensor_pb2.BlobArray(blob=blob_of(content), dtype=dtype_number(array.dtype.name), shape=shape)
    return Request(array=blob), content


def npy(content: bytes) -> tuple[Request, bytes]:
    """The request for an .npy file."""
    return Request(npy=Request.Npy(blob=blob_of(content))), content


def csv(text: str | bytes) -> tuple[Request, bytes]:
    """The request for a CSV file."""
    content = text.encode() if isinstance(text, str) else text
    return Request(csv=Request.Csv(blob=blob_of(content))), content


def upload_requests(content: bytes, offset: int = 0) -> list[blob_service_pb2.UploadBlobRequest]:
    """The messages that bring a blob from `offset` on."""
    header = blob_service_pb2.UploadBlobRequest.Header(
        sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), offset=offset
    )
    parts = [content[first : first + CHUNK] for first in range(offset, len(content), CHUNK)]
    pb = blob_service_pb2.UploadBlobRequest
    return [pb(header=header), *(pb(data=part) for part in parts)]


def create(stubs: Stubs, source: tuple[Request, bytes], **fields: Any) -> dataset_service_pb2.Dataset:
    """Upload and make a data set."""
    request, content = source
    stubs.blob.UploadBlob(iter(upload_requests(content)))
    return stubs.dataset.CreateDataset(Request(**{**_fields(request), **fields}))


def _fields(request: Request) -> dict[str, Any]:
    return {field.name: value for field, value in request.ListFields()}


@dataclass(frozen=True)
class Bad:
    """A refused data set."""

    source: tuple[Request, bytes]
    reason: str
    place: dict[str, str]
    """What the refusal's metadata say."""
    says: str
    """A part of the sentence."""
    at_field: str = ""

    @property
    def field(self) -> str:
        """The field at fault: the source, unless it is another."""
        return self.at_field or str(self.source[0].WhichOneof("source"))


def at(row: int, column: int, name: str, line: int | None = None) -> dict[str, str]:
    """The metadata of a place."""
    place = {"row": str(row), "column": str(column), "column_name": name}
    return place if line is None else {**place, "line": str(line)}


def with_cell(row: int, column: int, value: float) -> NDArray[np.float64]:
    """A good array of more than one block of rows, but for one cell."""
    values = np.arange(90_000.0 * 7).reshape(90_000, 7)
    values[row, column] = value
    return values


def named(source: tuple[Request, bytes], *names: str) -> tuple[Request, bytes]:
    """The source with names of columns."""
    request, content = source
    request.column_names[:] = names
    return request, content


GOOD = np.arange(12.0).reshape(4, 3)
_OBJECTS = npy_bytes(np.array([[1, "a"], [2, None]], dtype=object))
_LONG_CSV = "\n".join(["a,b", *(f"{n},{n}.5" for n in range(70_000)), "1,oops", "2,3"])

NOT_FINITE, NOT_A_NUMBER, RAGGED = "DATA_NOT_FINITE", "DATA_NOT_A_NUMBER", "DATA_RAGGED"
EMPTY, ONE_ROW, TOO_LARGE = "DATA_EMPTY", "DATA_ONE_ROW", "DATA_TOO_LARGE"
SHAPE_INVALID, DTYPE_UNSUPPORTED, FORMAT_REFUSED = (
    "DATA_SHAPE_INVALID", "DATA_DTYPE_UNSUPPORTED", "DATA_FORMAT_REFUSED",
)  # fmt: skip
NAMES_INVALID = "COLUMN_NAMES_INVALID"

BAD: dict[str, Bad] = {
    "NaN": Bad(raw(with_cell(80_001, 3, np.nan)), NOT_FINITE, at(80_001, 3, "x3"), "row 80001, column x3"),
    "inf": Bad(raw(with_cell(0, 6, -np.inf)), NOT_FINITE, at(0, 6, "x6"), "got -inf"),
    "NaN, float32": Bad(raw(np.array([[1, 2], [3, np.nan]], np.float32)), NOT_FINITE, at(1, 1, "x1"), "got nan"),
    "NaN in a named column": Bad(
        named(raw(np.array([[1, 2], [np.nan, 4]])), "age", "dose"), NOT_FINITE, at(1, 0, "age"), "column age"
    ),
    "NaN in an .npy": Bad(npy(npy_bytes(with_cell(7, 2, np.nan).T.copy().T)), NOT_FINITE, at(7, 2, "x2"), "row 7"),
    "NaN in a CSV": Bad(csv("a,b\n1,2\n\n3,nan\n"), NOT_FINITE, at(1, 1, "b", 4), "line 4 of the file"),
    "overflow in a CSV": Bad(csv("a,b\n1,2\n1e999,2\n"), NOT_FINITE, at(1, 0, "a", 3), "got inf"),
    "ragged": Bad(csv("a,b\n1,2\n3\n5,6\n"), RAGGED, {"row": "1", "line": "3"}, "expected 2 cells"),
    "ragged, too long": Bad(csv("1;2\n3;4;5\n"), RAGGED, {"row": "1", "line": "2"}, "got 3"),
    "too many names": Bad(named(raw(GOOD), "a", "b", "c", "d"), NAMES_INVALID, {}, "expected 3 names", "column_names"),
    "too many names for a CSV": Bad(named(csv("1,2\n3,4"), "a"), NAMES_INVALID, {}, "expected 2 names", "column_names"),
    "a name twice": Bad(named(raw(GOOD), "a", "b", "a"), NAMES_INVALID, {"column": "2"}, "column 0", "column_names"),
    "an index in a CSV": Bad(csv(",a\n0,1\n1,2\n"), NAMES_INVALID, {"column": "0"}, "an index", "column_names"),
    "no rows": Bad(raw(np.empty((0, 3))), EMPTY, {}, "got 0 x 3", "array.shape"),
    "no columns": Bad(raw(np.empty((3, 0))), EMPTY, {}, "got 3 x 0", "array.shape"),
    "an empty CSV": Bad(csv("\n \n"), EMPTY, {}, "the file has none"),
    "headings alone": Bad(csv("a,b\n"), EMPTY, {}, "got 0"),
    "an empty .npy": Bad(npy(npy_bytes(np.empty((0, 2)))), EMPTY, {}, "got 0 x 2"),
    "one row": Bad(raw(GOOD[:1]), ONE_ROW, {}, "at least 2 rows", "array.shape"),
    "one row in a CSV": Bad(csv("a,b\n1,2\n"), ONE_ROW, {}, "at least 2 rows, got 1"),
    "one row in an .npy": Bad(npy(npy_bytes(GOOD[:1])), ONE_ROW, {}, "at least 2 rows"),
    "a vector": Bad(raw(np.arange(5.0)), SHAPE_INVALID, {}, "x[:, None]", "array.shape"),
    "images": Bad(npy(npy_bytes(np.zeros((4, 8, 8)))), SHAPE_INVALID, {}, "x.reshape(len(x), -1)"),
    "a wrong shape": Bad(raw(GOOD, (5, 3)), "BLOB_MISMATCH", {}, "needs 120 bytes"),
    "too wide": Bad(raw(np.zeros((2, 10_001), np.uint8)), TOO_LARGE, {}, "at most 10000 columns", "array.shape"),
    "a CSV too wide": Bad(csv("1," * 10_000 + "1\n"), TOO_LARGE, {}, "at most 10000 columns"),
    "too many bytes": Bad(raw(GOOD[:0], (2**26, 3)), TOO_LARGE, {}, "bytes of values", "array.shape"),
    "complex numbers": Bad(npy(npy_bytes(GOOD * 1j)), DTYPE_UNSUPPORTED, {}, "got complex128"),
    "words": Bad(npy(npy_bytes(np.array([["a"], ["b"]]))), DTYPE_UNSUPPORTED, {}, "got <U1"),
    "fields": Bad(npy(npy_bytes(np.zeros((2, 1), [("a", "f8")]))), DTYPE_UNSUPPORTED, {}, "convert them"),
    "half floats": Bad(npy(npy_bytes(GOOD.astype(np.float16))), DTYPE_UNSUPPORTED, {}, "got float16"),
    "no dtype": Bad((Request(array=tensor_pb2.BlobArray(blob=blob_of(b""), shape=[2, 2])), b""),
                    DTYPE_UNSUPPORTED, {}, "number 0", "array.dtype"),
    "pickled objects": Bad(npy(_OBJECTS), FORMAT_REFUSED, {}, "pickled and never read"),
    "a pickle": Bad(npy(pickle.dumps([1])), FORMAT_REFUSED, {}, "never read"),
    "a zip archive": Bad(npy(b"PK\x03\x04" + bytes(99)), FORMAT_REFUSED, {}, "zip archive"),
    "half an .npy": Bad(npy(npy_bytes(GOOD)[:-9]), FORMAT_REFUSED, {}, "no .npy file that can be read"),
    "half a header": Bad(npy(npy_bytes(GOOD)[:30]), FORMAT_REFUSED, {}, "no .npy file that can be read"),
    "nothing": Bad(npy(b""), FORMAT_REFUSED, {}, "ends before its header"),
    "two arrays": Bad(npy(npy_bytes(GOOD) * 2), FORMAT_REFUSED, {}, "bytes follow its array"),
    "an .npy as CSV": Bad(csv(npy_bytes(GOOD)), FORMAT_REFUSED, {}, "an .npy file"),
    "Parquet as CSV": Bad(csv(b"PAR1" + bytes(9)), FORMAT_REFUSED, {}, "`parquet` extra"),
    "UTF-16": Bad(csv("1,2\n3,4\n".encode("utf-16-le")), FORMAT_REFUSED, {}, "UTF-8"),
    "a word": Bad(csv("a,b\n1,2\n3,four\n"), NOT_A_NUMBER, at(1, 1, "b", 3), "got 'four'"),
    "a word far down": Bad(csv(_LONG_CSV), NOT_A_NUMBER, at(70_000, 1, "b", 70_002), "got 'oops'"),
    "a first line that is half numbers": Bad(csv("1,b\n1,2\n"), NOT_A_NUMBER, at(0, 1, "x1", 1), "got 'b'"),
    "a missing cell": Bad(csv("a,b\n1,2\n,4\n"), NOT_A_NUMBER, at(1, 0, "a", 3), "the cell is empty"),
    "an underscore": Bad(csv("1_0,2\n3,4\n"), NOT_A_NUMBER, at(0, 0, "x0", 1), "got '1_0'"),
    "no UTF-8": Bad(csv(b"a,b\n1,2\n3,\xff\n"), NOT_A_NUMBER, at(1, 1, "b", 3), "expected a number"),
    "a comment": Bad(csv("a,b\n1,2\n3,4 # five\n"), NOT_A_NUMBER, at(1, 1, "b", 3), "'4 # five'"),
}  # fmt: skip
"""Each is refused with its reason, at its field and its place; `tests/service/test_datasets_refused.py`."""
