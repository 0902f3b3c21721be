"""Each wrong data set gets its own reason, with row and column, and leaves nothing behind."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gephyra.protos import dataset_service_pb2, tensor_pb2
from gephyra.service.artefacts import Artefacts
from gephyra.service.config import Limits
from gephyra.service.errors import InvalidArgument, Reason
from gephyra.service.ingest import blob_name, check_request, ingest
from tests.support.refusal import refused
from tests.support.server import Stubs
from tests.support.tables import BAD, GOOD, Request, create, csv, npy, npy_bytes, raw, upload_requests

INVALID, NOT_FOUND, EXISTS = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS


def listed(stubs: Stubs) -> list[str]:
    answer = stubs.dataset.ListDatasets(dataset_service_pb2.ListDatasetsRequest(page_size=1000))
    return [dataset.name for dataset in answer.datasets]


@pytest.mark.parametrize("case", BAD)
def test_bad_data_are_refused_with_reason_row_and_column(stubs: Stubs, case: str) -> None:
    bad, before = BAD[case], listed(stubs)
    refusal = refused(lambda: create(stubs, bad.source, dataset_id="bad-data"))
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, bad.reason, (bad.field,))
    assert refusal.metadata == bad.place
    assert bad.says in refusal.message
    assert listed(stubs) == before


def test_good_data_are_taken(stubs: Stubs) -> None:
    """The negative control of the cases above."""
    text = "\n".join(["a,b,c", *(",".join(map(repr, row)) for row in GOOD.tolist())])
    made = [create(stubs, source) for source in (raw(GOOD), npy(npy_bytes(GOOD)), csv(text))]
    assert {(each.rows, each.columns, each.content_sha256) for each in made} == {(4, 3, made[0].content_sha256)}


AT_ONCE = ["a vector", "too wide", "too many bytes", "no dtype", "too many names", "a name twice"]


@pytest.mark.parametrize("case", AT_ONCE)
def test_what_the_request_alone_shows_is_told_before_bytes_are_sent(stubs: Stubs, case: str) -> None:
    bad = BAD[case]
    request = Request()
    request.CopyFrom(bad.source[0])
    blob_field = request.WhichOneof("source")
    assert blob_field == "array"
    request.array.blob = f"blobs/{'0' * 64}"
    assert refused(lambda: stubs.dataset.CreateDataset(request)).reason == bad.reason


def test_names_and_ids_are_checked(stubs: Stubs) -> None:
    request, _ = raw(GOOD)
    cases = {
        "dataset_id": Request(array=request.array, dataset_id="My_Data"),
        "request_id": Request(array=request.array, request_id="mine"),
        "display_name": Request(array=request.array, display_name="x" * 201),
        "array.blob": Request(
            array=tensor_pb2.BlobArray(blob="blobs/zz", dtype=tensor_pb2.DTYPE_FLOAT64, shape=[2, 2])
        ),
        "csv.blob": Request(csv=Request.Csv(blob="targets/t-one")),
        "source": Request(dataset_id="no-source"),
    }
    for field, wrong in cases.items():
        refusal = refused(lambda wrong=wrong: stubs.dataset.CreateDataset(wrong))  # type: ignore[misc]
        assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "FIELD_INVALID", (field,))


def test_missing_ones_are_named(stubs: Stubs) -> None:
    pb = dataset_service_pb2
    name = "datasets/nothing"
    for call in (
        lambda: stubs.dataset.GetDataset(pb.GetDatasetRequest(name=name)),
        lambda: stubs.dataset.DeleteDataset(pb.DeleteDatasetRequest(name=name)),
    ):
        refusal = refused(call)
        assert (refusal.code, refusal.reason, refusal.resource) == (NOT_FOUND, "DATASET_NOT_FOUND", name)
    request, _ = raw(GOOD + 0.125)
    refusal = refused(lambda: stubs.dataset.CreateDataset(request))
    assert (refusal.code, refusal.reason, refusal.resource) == (NOT_FOUND, "BLOB_NOT_FOUND", request.array.blob)


def test_a_name_with_other_content_is_taken(stubs: Stubs) -> None:
    made = create(stubs, raw(GOOD), dataset_id="taken-name")
    assert create(stubs, raw(GOOD), dataset_id="taken-name") == made
    refusal = refused(lambda: create(stubs, raw(GOOD + 1), dataset_id="taken-name"))
    assert (refusal.code, refusal.reason, refusal.resource) == (EXISTS, "DATASET_NAME_TAKEN", made.name)
    # Other names of columns are other content.
    named = {"dataset_id": "taken-name", "column_names": ["a", "b", "c"]}
    assert refused(lambda: create(stubs, raw(GOOD), **named)).code == EXISTS


def test_a_request_id_belongs_to_one_request(stubs: Stubs) -> None:
    request_id = str(uuid.uuid4())
    made = create(stubs, raw(GOOD), request_id=request_id)
    assert create(stubs, raw(GOOD), request_id=request_id) == made
    assert listed(stubs).count(made.name) == 1
    refusal = refused(lambda: create(stubs, raw(GOOD + 1), request_id=request_id))
    assert (refusal.reason, refusal.fields) == ("REQUEST_ID_REUSED", ("request_id",))


def test_the_limit_on_bytes_is_the_operators(tmp_path: Path) -> None:
    limits, contents = Limits(max_dataset_bytes=95), Artefacts(tmp_path / "contents")
    text = "\n".join(",".join(map(repr, row)) for row in GOOD.tolist())
    for request, content in (raw(GOOD), npy(npy_bytes(GOOD)), csv(text)):
        (tmp_path / "blob").write_bytes(content)
        with pytest.raises(InvalidArgument, match="at most 95 bytes") as caught:
            ingest(request, tmp_path / "blob", contents, limits)
        assert caught.value.reason == Reason.DATA_TOO_LARGE
        assert ingest(request, tmp_path / "blob", contents, Limits(max_dataset_bytes=96)).rows == 4
        contents.remove(next(contents.digests()))
        assert list((tmp_path / "contents/staging").iterdir()) == []


def test_a_blob_that_is_too_large_is_refused_at_its_header(stubs: Stubs) -> None:
    header = upload_requests(b"")[0]
    header.header.size_bytes = 2**40
    refusal = refused(lambda: stubs.blob.UploadBlob(iter([header])))
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "DATA_TOO_LARGE", ("header.size_bytes",))


FILES = [npy(npy_bytes(GOOD)), npy(npy_bytes(np.asfortranarray(GOOD.astype(">f4")))), csv("a;b\n1;2\n3;4.5\n5;-6e3\n")]


@given(
    source=st.sampled_from(FILES),
    edits=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=4),
    end=st.integers(0, 300) | st.none(),
)
def test_damaged_files_are_read_or_refused_whatever_the_damage(
    tmp_path_factory: pytest.TempPathFactory, source: Any, edits: list[tuple[int, int]], end: int | None
) -> None:
    request, content = source
    damaged = bytearray(content[:end])
    for position, value in edits:
        if position < len(damaged):
            damaged[position] = value
    folder = tmp_path_factory.getbasetemp()
    (folder / "damaged").write_bytes(damaged)
    found: Any = refusal_of(lambda: ingest(request, folder / "damaged", Artefacts(folder / "contents"), Limits()))
    if isinstance(found, InvalidArgument):
        assert found.reason.startswith(("DATA_", "COLUMN_NAMES_"))
        assert len(found.violations) == 1
    else:
        assert found.rows >= 2
        assert len(found.facts) >= 1


@given(
    request=st.builds(
        Request,
        array=st.none()
        | st.builds(
            tensor_pb2.BlobArray,
            blob=st.text(max_size=20),
            dtype=st.integers(-(2**31), 2**31 - 1),
            shape=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 4), max_size=4),
        ),
        csv=st.none() | st.builds(Request.Csv, blob=st.text(max_size=20)),
        column_names=st.lists(st.text(max_size=5), max_size=4),
    )
)
def test_any_request_is_understood_or_refused_with_a_field(request: Request) -> None:
    found = refusal_of(lambda: check_request(request, Limits())) or refusal_of(lambda: blob_name(request))
    if isinstance(found, InvalidArgument):
        (violation,) = found.violations
        assert violation.field.split(".")[0] in {"array", "column_names", "source"}
        assert found.message.startswith(violation.field)
    else:
        assert request.WhichOneof("source") is not None


def refusal_of(call: Callable[[], Any]) -> Any:
    """What the call returns, or how it is refused; any other exception is a fault."""
    try:
        return call()
    except InvalidArgument as error:
        return error
