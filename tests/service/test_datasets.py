"""Data sets: what is stored is what was sent, facts are right, deletion takes what nothing needs, and no more."""

import hashlib
import io
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gephyra.protos import dataset_service_pb2 as pb
from gephyra.protos import target_service_pb2, tensor_pb2
from gephyra.service import convert
from gephyra.service.artefacts import Artefacts
from gephyra.service.config import TENANT, Limits
from gephyra.service.facts import column_facts
from gephyra.service.ingest import ingest
from gephyra.service.store import datasets
from gephyra.service.store.database import Store
from gephyra.service.store.records import ColumnFacts, DatasetRecord
from gephyra.service.tensors import DTYPES, to_tensor
from tests.support.refusal import refused
from tests.support.server import ServerProcess, Stubs, register
from tests.support.tables import GOOD, Request, blob_of, create, csv, npy, npy_bytes, raw, upload_requests
from tests.support.wire import square_program

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SHAPES = st.tuples(st.integers(2, 9), st.integers(1, 5))


def ingested(folder: Path, source: tuple[Request, bytes]) -> Any:
    """What a source becomes, and the values that are stored."""
    request, content = source
    (folder / "blob").write_bytes(content)
    contents = Artefacts(folder / "contents")
    made = ingest(request, folder / "blob", contents, Limits())
    values = np.frombuffer(contents.read(made.content), np.dtype(made.dtype).newbyteorder("<"))
    return made, values.reshape(made.rows, -1)


@st.composite
def tables(draw: st.DrawFn) -> Any:
    """A table of any type that travels."""
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    elements = {"allow_nan": False, "allow_infinity": False} if dtype.startswith("float") else None
    return draw(arrays.arrays(dtype, SHAPES, elements=elements))


@given(table=tables())
def test_values_are_stored_as_they_were_sent(tmp_path_factory: pytest.TempPathFactory, table: Any) -> None:
    folder = tmp_path_factory.mktemp("values")
    stored = table.astype(np.uint8) if table.dtype == np.bool_ else table
    for source in (raw(table), npy(npy_bytes(table)), npy(npy_bytes(np.asfortranarray(table)))):
        made, values = ingested(folder, source)
        assert made.dtype == stored.dtype.name
        np.testing.assert_array_equal(values, stored, strict=True)
        assert made.content == hashlib.sha256(stored.tobytes()).hexdigest()
    swapped = table.astype(table.dtype.newbyteorder(">"))
    assert ingested(folder, npy(npy_bytes(swapped)))[0] == made


@given(
    table=arrays.arrays(np.float64, SHAPES, elements=FINITE),
    delimiter=st.sampled_from([",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n"]),
    headings=st.booleans(),
    quoted=st.booleans(),
)
def test_a_csv_file_reads_back_as_the_same_numbers(
    tmp_path_factory: pytest.TempPathFactory, table: Any, delimiter: str, end: str, headings: bool, quoted: bool
) -> None:
    names = [f"column {n}" for n in range(table.shape[1])]
    cell = '"{}"'.format if quoted else "{}".format
    lines = [delimiter.join(cell(repr(value)) for value in row) for row in table.tolist()]
    lines = [delimiter.join(cell(name) for name in names), *lines] if headings else lines
    made, values = ingested(tmp_path_factory.mktemp("csv"), csv("\ufeff" + end.join(lines) + end))
    np.testing.assert_array_equal(values, table, strict=True)
    assert [column.name for column in made.facts] == (names if headings else [f"x{n}" for n in range(len(names))])


def test_large_files_are_read_in_blocks_without_a_seam(tmp_path: Path) -> None:
    table = np.random.Generator(np.random.Philox(1)).standard_normal((150_000, 7))
    text = io.StringIO()
    np.savetxt(text, table, fmt="%.17g", delimiter=",")
    for source in (raw(table), npy(npy_bytes(np.asfortranarray(table))), csv(text.getvalue())):
        made, values = ingested(tmp_path, source)
        assert np.array_equal(values, table)
        assert made.facts[6].maximum == table[:, 6].max()


@given(table=arrays.arrays(np.float64, st.tuples(st.integers(2, 40), st.integers(1, 3)), elements=st.integers(-3, 3)))
def test_facts_are_those_of_the_values(table: Any) -> None:
    rows, width = table.shape
    facts = column_facts(table, [f"x{n}" for n in range(width)])
    for column, values in zip(facts, table.T, strict=True):
        distinct = len(set(values.tolist()))
        assert (column.minimum, column.maximum, column.distinct) == (values.min(), values.max(), distinct)
        assert column.constant == (distinct == 1)
        assert column.tied == (1 < distinct < rows / 2)
        assert column.on_levels == (column.constant or column.tied)


def test_many_values_are_no_levels() -> None:
    for count, levels in ((256, True), (257, False)):
        (column,) = column_facts(np.tile(np.arange(count), 3)[:, None], ["x"])
        assert (column.distinct, column.tied, column.on_levels) == (count, True, levels)


RECORD = st.builds(
    DatasetRecord,
    name=st.just("some-data"), uid=st.just("uid"), display_name=st.text(max_size=20), origin=st.just("o"),
    content=st.just("c"), digest=st.just("d"), rows=st.integers(2, 2**40), columns=st.integers(1, 10_000),
    dtype=st.sampled_from(sorted(DTYPES)), on_levels=st.booleans(), create_time=st.integers(0, 2**50),
    facts=st.lists(
        st.builds(
            ColumnFacts, name=st.text(max_size=9), minimum=FINITE, maximum=FINITE, distinct=st.integers(1, 2**40),
            constant=st.booleans(), tied=st.booleans(), on_levels=st.booleans(),
        ), max_size=4,
    ).map(tuple),
)  # fmt: skip


@given(record=RECORD)
def test_records_survive_the_store_and_the_wire(record: DatasetRecord) -> None:
    store = Store(Path(":memory:"))  # Readers and writers would each have one of their own.
    store.write_now(datasets.add, TENANT, record)
    assert store.write_now(datasets.find, TENANT, record.name) == record
    assert store.write_now(datasets.find_origin, TENANT, "o") == record
    store.close()
    message = pb.Dataset.FromString(convert.to_dataset(record).SerializeToString())
    for field in ("display_name", "rows", "columns", "digest", "on_levels", "size_bytes"):
        assert getattr(message, field) == getattr(record, field)
    assert message.create_time.ToMicroseconds() == record.create_time
    fields = [field.name for field in pb.DatasetColumn.DESCRIPTOR.fields]
    assert [ColumnFacts(**{name: getattr(column, name) for name in fields}) for column in message.column_facts] == list(
        record.facts
    )


def listed(stubs: Stubs, **page: Any) -> pb.ListDatasetsResponse:
    return stubs.dataset.ListDatasets(pb.ListDatasetsRequest(**page))


def contents(server: ServerProcess) -> set[str]:
    """Digests of all that lies among the contents of data sets."""
    return {path.name for path in (server.data / "artefacts/datasets/sha256").glob("*/*")}


def test_data_sets_are_listed_in_pages_and_shown_whole(serve: Callable[..., ServerProcess]) -> None:
    stubs = serve().stubs
    made = [create(stubs, raw(GOOD + n), dataset_id=f"data-{n}", display_name=f"set {n}") for n in range(5)]
    names, token = [], ""
    while True:
        page = listed(stubs, page_size=2, page_token=token)
        names += [dataset.name for dataset in page.datasets]
        assert not any(dataset.column_facts for dataset in page.datasets)
        token = page.next_page_token
        if not token:
            break
    assert names == [dataset.name for dataset in reversed(made)]
    assert stubs.dataset.GetDataset(pb.GetDatasetRequest(name=made[3].name)) == made[3]
    assert (made[3].display_name, len(made[3].column_facts)) == ("set 3", 3)
    foreign = target_service_pb2.ListTargetsRequest(page_token=listed(stubs, page_size=2).next_page_token)
    assert refused(lambda: stubs.target.ListTargets(foreign)).reason == "PAGE_TOKEN_INVALID"


def test_content_that_is_known_is_not_sent_again(serve: Callable[..., ServerProcess]) -> None:
    stubs = serve().stubs
    request, content = csv("a,b\n1,2\n3,4\n")
    first = create(stubs, (request, content), dataset_id="first-one")
    # The blob was used up, and what it became is known.
    assert refused(lambda: create_target(stubs, content)).reason == "BLOB_NOT_FOUND"
    request.dataset_id = "second-one"
    second = stubs.dataset.CreateDataset(request)
    assert (second.digest, second.column_facts) == (first.digest, first.column_facts)
    assert second.uid != first.uid
    request.column_names[:] = ["c", "d"]
    request.dataset_id = ""
    assert refused(lambda: stubs.dataset.CreateDataset(request)).reason == "BLOB_NOT_FOUND"


def create_target(stubs: Stubs, content: bytes) -> target_service_pb2.Target:
    """A target that refers to the content as a blob."""
    blob = tensor_pb2.BlobArray(blob=blob_of(content), dtype=tensor_pb2.DTYPE_UINT8, shape=[len(content)])
    definition = square_program(arrays=[tensor_pb2.DataArray(blob=blob)])
    return stubs.target.CreateTarget(target_service_pb2.CreateTargetRequest(definition=definition))


def test_deleting_takes_content_that_nothing_needs(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    stubs = server.stubs
    first = create(stubs, raw(GOOD), dataset_id="first-one")
    second = create(stubs, npy(npy_bytes(GOOD)), dataset_id="second-one", column_names=["a", "b", "c"])
    assert first.content_sha256 == second.content_sha256
    assert first.digest != second.digest
    assert contents(server) == {first.content_sha256}
    stubs.dataset.DeleteDataset(pb.DeleteDatasetRequest(name=first.name))
    assert contents(server) == {first.content_sha256}
    assert [dataset.name for dataset in listed(stubs).datasets] == [second.name]
    stubs.dataset.DeleteDataset(pb.DeleteDatasetRequest(name=second.name))
    assert contents(server) == set()
    assert not any((server.data / "artefacts").rglob(first.content_sha256))
    # Nothing stands in the way of making it again.
    assert create(stubs, raw(GOOD), dataset_id="first-one").digest == first.digest


@pytest.mark.slow
def test_deleting_takes_nothing_from_a_target_with_the_same_bytes(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    stubs = server.stubs
    inline = square_program(arrays=[tensor_pb2.DataArray(inline=to_tensor(GOOD))])
    stubs.blob.UploadBlob(iter(upload_requests(GOOD.tobytes())))
    by_blob = create_target(stubs, GOOD.tobytes())
    dataset = create(stubs, raw(GOOD))
    by_value = register(stubs, inline)
    stubs.dataset.DeleteDataset(pb.DeleteDatasetRequest(name=dataset.name))
    server.stop()
    server.start()
    x = to_tensor(np.zeros((1, 2)))
    for target in (by_blob, by_value):
        request = target_service_pb2.EvaluateTargetRequest(name=target.name, x=x)
        assert server.stubs.target.EvaluateTarget(request).log_density.shape == [1]


def test_data_sets_and_nothing_else_survive_a_restart(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    request_id = str(uuid.uuid4())
    made = create(server.stubs, raw(GOOD), request_id=request_id)
    server.stop()
    # As a server leaves it that is killed between the content and the row.
    orphan = Artefacts(server.data / "artefacts/datasets").put(b"orphan")
    server.start()
    assert orphan not in contents(server)
    assert contents(server) == {made.content_sha256}
    assert server.stubs.dataset.GetDataset(pb.GetDatasetRequest(name=made.name)) == made
    request, _ = raw(GOOD)
    request.request_id = request_id
    assert server.stubs.dataset.CreateDataset(request) == made
