"""What `client.upload` takes and refuses, what it sends, and what a data set says of itself. A real server."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from gephyra.clients import errors
from gephyra.clients.aio import AsyncClient
from gephyra.clients.sync import Client
from gephyra.clients.tables import prepare
from tests.support.tables import npy_bytes

X = np.random.Generator(np.random.Philox(2)).standard_normal((50, 3))
FRAME = pandas.DataFrame({"age": [1, 2, 3], "dose": [0.5, 1.5, 2.5], "ill": [True, False, True]})


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client.local(tmp_path_factory.mktemp("runs")) as client:
        yield client


def file(name: str, write: Callable[[Path], Any]) -> Callable[[Path], Path]:
    """A file that is written below a folder."""

    def made(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return made


def text(content: str) -> Callable[[Path], Any]:
    return lambda path: path.write_text(content)


CSV = "\n".join(",".join(map(repr, row)) for row in X.tolist())
GOOD: dict[str, Callable[[Path], Any]] = {
    "an array": lambda _: X,
    "an array in Fortran's order": lambda _: np.asfortranarray(X),
    "an array of the other byte order": lambda _: X.astype(">f8"),
    "every other row of an array": lambda _: np.repeat(X, 2, axis=0)[::2],
    "nested lists": lambda _: X.tolist(),
    "a tensor": lambda _: torch.from_numpy(X.copy()).requires_grad_(),
    "a DataFrame": lambda _: pandas.DataFrame(X, columns=["x0", "x1", "x2"]),
    "objects that are numbers": lambda _: pandas.DataFrame(X.astype(object), columns=["x0", "x1", "x2"]),
    "an .npy file": file("x.npy", lambda path: np.save(path, X)),
    "a CSV file": file("x.csv", text(CSV)),
    "a CSV file with headings": file("x.CSV", text(f"x0,x1,x2\n{CSV}\n")),
    "a file of tabs, by a string": lambda folder: str(file("x.tsv", text(CSV.replace(",", "\t")))(folder)),
}


@pytest.mark.parametrize("case", GOOD)
def test_every_form_of_a_table_is_the_same_data_set(local: Client, tmp_path: Path, case: str) -> None:
    dataset = local.upload(GOOD[case](tmp_path), "same-data")
    assert (dataset.name, dataset.shape, dataset.dtype) == ("datasets/same-data", (50, 3), "float64")
    assert list(dataset.facts) == ["x0", "x1", "x2"]
    assert dataset.facts["x1"].maximum == X[:, 1].max()


def test_columns_of_a_frame_keep_their_names_and_share_a_type(local: Client) -> None:
    dataset = local.upload(FRAME)
    assert (list(dataset.facts), dataset.dtype) == (["age", "dose", "ill"], "float64")
    assert (dataset.facts["ill"].minimum, dataset.facts["ill"].distinct) == (0.0, 2)
    assert local.upload(FRAME[["age"]]).dtype == "int64"
    renamed = local.upload(FRAME, columns=["a", "b", "c"])
    assert (list(renamed.facts), renamed.content_sha256) == (["a", "b", "c"], dataset.content_sha256)
    assert renamed.digest != dataset.digest


def test_parquet_goes_in_by_its_extra(local: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    parquet.write_table(arrow.table({"a": X[:, 0], "b": np.arange(50)}), path)
    dataset = local.upload(path, display_name="of arrow")
    assert (list(dataset.facts), dataset.shape, dataset.display_name) == (["a", "b"], (50, 2), "of arrow")
    assert dataset.facts["a"].minimum == X[:, 0].min()
    parquet.write_table(arrow.table({"a": [1.0, 2.0], "b": [1, None]}), path)
    assert refusal(local, path).metadata.items() >= {"row": "1", "column": "1", "column_name": "b"}.items()
    parquet.write_table(arrow.table({"a": [1.0, 2.0], "b": ["one", "two"]}), path)
    assert refusal(local, path).reason == "DATA_NOT_A_NUMBER"
    path.write_bytes(b"PAR1 and nothing else PAR1")
    assert refusal(local, path).reason == "DATA_FORMAT_REFUSED"


def test_without_the_extra_parquet_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'gephyra\[parquet\]'"):
        prepare(tmp_path / "x.parquet")


def refusal(client: Client, data: Any, **options: Any) -> errors.InvalidArgument:
    """How data are refused."""
    with pytest.raises(errors.InvalidArgument) as caught:
        client.upload(data, "bad-data", progress=False, **options)
    return caught.value


def frame(column: Any) -> pandas.DataFrame:
    """A frame whose second column is this one."""
    return pandas.DataFrame({"a": [1.0, 2.0, 3.0], "b": column})


PICKLED = npy_bytes(np.array([[1], [{}]], dtype=object))

Case = tuple[Callable[[Path], Any], str, dict[str, str], str]
SECOND = {"row": "1", "column": "1", "column_name": "b"}
NOT_FINITE, NO_NUMBER = "DATA_NOT_FINITE", "DATA_NOT_A_NUMBER"
DTYPE, FORMAT = "DATA_DTYPE_UNSUPPORTED", "DATA_FORMAT_REFUSED"
OBJECTS: Any = {"dtype": object}
BAD: dict[str, Case] = {
    "NaN in an array": (lambda _: [[1.0, 2.0], [3.0, np.nan]], NOT_FINITE, SECOND | {"column_name": "x1"}, "nan"),
    "inf in a tensor": (lambda _: torch.tensor([[1.0], [torch.inf]]), NOT_FINITE,
                        {"row": "1", "column": "0", "column_name": "x0"}, "row 1, column x0"),
    "NaN in a frame": (lambda _: frame([1.0, np.nan, 2.0]), NOT_FINITE, SECOND, "row 1, column b"),
    "NaN among objects": (lambda _: frame([1, None, 2]).astype({"b": object}), NOT_FINITE, SECOND, "row 1, column b"),
    "a missing object": (lambda _: frame(pandas.Series([1, None, 2], **OBJECTS)), NO_NUMBER, SECOND, "nothing"),
    "a missing integer": (lambda _: frame(pandas.array([1, None, 2], dtype="Int64")), NOT_FINITE, SECOND, "got nan"),
    "a word in a frame": (lambda _: frame(pandas.Series([1, "two", 3], **OBJECTS)), NO_NUMBER, SECOND, "'two'"),
    "words in a frame": (lambda _: frame(["one", "two", "three"]), NO_NUMBER, SECOND | {"row": "0"}, "'one'"),
    "dates in a frame": (lambda _: frame(pandas.to_datetime(["2020-01-01"] * 3)), DTYPE,
                         {"column": "1", "column_name": "b"}, "datetime64"),
    "a name twice": (lambda _: frame([1, 2, 3]).set_axis(["a", "a"], axis=1), "COLUMN_NAMES_INVALID",
                     {"column": "1"}, "distinct names"),
    "a frame without columns": (lambda _: frame([1, 2, 3])[[]], "DATA_EMPTY", {}, "got 3 x 0"),
    "a frame without rows": (lambda _: frame([1, 2, 3])[:0], "DATA_EMPTY", {}, "got 0 x 2"),
    "ragged lists": (lambda _: [[1, 2], [3, 4], [5]], "DATA_RAGGED", {"row": "2"}, "expected 2 numbers"),
    "a ragged file": (file("x.csv", text("1,2\n3\n")), "DATA_RAGGED", {"row": "1", "line": "2"}, "expected 2 cells"),
    "a word in a file": (file("x.csv", text("a,b\n1,2\n3,x\n")), NO_NUMBER, SECOND | {"line": "3"}, "line 3"),
    "an empty file": (file("x.csv", text("")), "DATA_EMPTY", {}, "at least 2 rows"),
    "one row": (lambda _: X[:1], "DATA_ONE_ROW", {}, "at least 2 rows"),
    "a vector": (lambda _: X[0], "DATA_SHAPE_INVALID", {}, "x[:, None]"),
    "a number": (lambda _: 5.0, "DATA_SHAPE_INVALID", {}, "(rows, columns)"),
    "complex numbers": (lambda _: X * 1j, DTYPE, {}, "complex128"),
    "half floats": (lambda _: X.astype(np.float16), DTYPE, {}, "convert it"),
    "a tensor that numpy has no type for": (lambda _: torch.zeros(2, 2, dtype=torch.bfloat16), DTYPE,
                                           {}, "bfloat16"),
    "something else": (lambda _: {"a": 1}, DTYPE, {}, "object"),
    "pickled objects": (file("x.npy", lambda path: path.write_bytes(PICKLED)), FORMAT, {}, "never read"),
    "another kind of file": (lambda _: "x.xlsx", FORMAT, {}, ".csv, .tsv, .npy, .parquet"),
    "too wide": (lambda _: np.zeros((2, 10_001)), "DATA_TOO_LARGE", {}, "at most 10000 columns"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_each_refusal_has_its_reason_row_and_column(local: Client, tmp_path: Path, case: str) -> None:
    make, reason, place, says = BAD[case]
    error = refusal(local, make(tmp_path))
    error.metadata.pop("request_id", "")
    assert (error.reason, error.metadata) == (reason, place)
    assert says in str(error)
    assert error.field
    with pytest.raises(errors.NotFound):
        local.dataset("bad-data")


def test_wrong_arguments_are_the_callers(local: Client, tmp_path: Path) -> None:
    assert refusal(local, X, columns="abc").field == "columns"
    assert refusal(local, X, columns=["a"]).reason == "COLUMN_NAMES_INVALID"
    assert refusal(local, X, display_name="x" * 300).field == "display_name"
    with pytest.raises(errors.InvalidArgument) as caught:
        local.upload(X, "Wrong Name")
    assert caught.value.field == "dataset_id"
    with pytest.raises(FileNotFoundError):
        local.upload(tmp_path / "missing.csv")


def test_a_name_belongs_to_one_content(local: Client) -> None:
    first = local.upload(X, "one-content")
    assert local.upload(X, "datasets/one-content").to_json() == first.to_json()
    with pytest.raises(errors.AlreadyExists) as caught:
        local.upload(X + 1, "one-content")
    assert caught.value.reason == "DATASET_NAME_TAKEN"


def test_a_data_set_says_what_its_columns_are_like(local: Client) -> None:
    values = np.column_stack([np.full(40, 2.0), np.arange(40) % 3, np.arange(40)])
    dataset = local.upload(values, "telling", columns=["const", "grade", "id"])
    assert (dataset.constant, dataset.tied, dataset.on_levels) == (("const",), ("grade",), False)
    for part in ("40 x 3 float64", "const (no density", "grade (values repeat"):
        assert part in repr(dataset)
        assert part in dataset._repr_html_()
    levels = local.upload(np.arange(40).reshape(20, 2) % 4)
    assert levels.on_levels
    assert "at most 2 distinct values" in repr(levels)
    (entry,) = [each for each in local.datasets() if each.name == dataset.name]
    assert (entry.shape, entry.facts) == ((40, 3), {})
    assert entry.refresh().to_json() == dataset.to_json()
    entry.delete()
    with pytest.raises(errors.NotFound) as caught:
        dataset.refresh()
    assert caught.value.reason == "DATASET_NOT_FOUND"


async def test_the_asyncio_client_sees_what_the_synchronous_one_sees(local: Client) -> None:
    async with AsyncClient(local.address) as client:
        made = await client.upload(X, "for-both")
        assert made.to_json() == local.dataset("for-both").to_json()
        theirs, ours = await client.datasets(), local.datasets()
        assert [each.to_json() for each in theirs] == [each.to_json() for each in ours]
        await (await client.dataset("for-both")).delete()
    assert "datasets/for-both" not in [each.name for each in local.datasets()]
