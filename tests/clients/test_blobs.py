"""What an upload sends when: nothing that is there, from where it broke, and from the beginning if that was wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from gephyra.clients import errors
from gephyra.clients.content import CHUNK_BYTES, BytesContent, Content, FileContent
from gephyra.clients.sync import Client
from gephyra.protos import blob_service_pb2, dataset_service_pb2
from tests.clients.fake import FakeServer, gone, refuse

pb = blob_service_pb2
X = np.random.Generator(np.random.Philox(3)).standard_normal((30_000, 3))
SENT = X.tobytes()
DATASET = dataset_service_pb2.Dataset(name="datasets/some-data", rows=30_000, columns=3)


class Blobs:
    """A scripted blob store: breaks streams when told, and remembers what it was sent."""

    def __init__(self, fake: FakeServer, received: int = 0) -> None:
        self.received = received
        self.complete = False
        self.headers: list[pb.UploadBlobRequest.Header] = []
        self.bytes: list[bytes] = []
        self.answers: list[Callable[[grpc.ServicerContext], object]] = []
        fake.script |= {"CreateDataset": self.create, "GetBlob": self.find, "UploadBlob": self.upload}

    def create(self, request: Any, context: grpc.ServicerContext) -> Any:
        if not self.complete:
            refuse(context, grpc.StatusCode.NOT_FOUND, "no blob", "BLOB_NOT_FOUND")
        return DATASET

    def find(self, request: Any, context: grpc.ServicerContext) -> Any:
        if not self.received and not self.complete:
            refuse(context, grpc.StatusCode.NOT_FOUND, "no blob", "BLOB_NOT_FOUND")
        return pb.Blob(name=request.name, received_bytes=self.received, complete=self.complete)

    def upload(self, requests: Any, context: grpc.ServicerContext) -> Any:
        self.headers.append(requests[0].header)
        self.bytes.append(b"".join(part.data for part in requests[1:]))
        if self.answers:
            self.answers.pop(0)(context)
        self.complete = True
        return pb.UploadBlobResponse(name=f"blobs/{requests[0].header.sha256}", size_bytes=len(SENT))


def test_the_whole_is_sent_in_pieces(fake: FakeServer, client: Client) -> None:
    blobs = Blobs(fake)
    assert client.upload(X).name == DATASET.name
    assert [called for called, _ in fake.calls] == ["CreateDataset", "GetBlob", "UploadBlob", "CreateDataset"]
    assert blobs.bytes == [SENT]
    assert (blobs.headers[0].size_bytes, blobs.headers[0].offset) == (len(SENT), 0)
    _, parts = fake.calls[2]
    assert max(len(part.data) for part in parts[1:]) == CHUNK_BYTES
    first, last = (request for name, request in fake.calls if name == "CreateDataset")
    assert first == last
    assert first.request_id


def test_known_content_is_not_sent(fake: FakeServer, client: Client) -> None:
    Blobs(fake).complete = True
    client.upload(X)
    assert [called for called, _ in fake.calls] == ["CreateDataset"]


def test_it_begins_where_another_process_stopped(fake: FakeServer, client: Client, tmp_path: Path) -> None:
    blobs = Blobs(fake, received=700_001)
    np.save(tmp_path / "x.npy", X)
    client.upload(tmp_path / "x.npy")
    assert blobs.headers[0].offset == 700_001
    assert blobs.bytes == [(tmp_path / "x.npy").read_bytes()[700_001:]]


def test_it_goes_on_where_it_broke(fake: FakeServer, client: Client) -> None:
    blobs = Blobs(fake)

    def broken_at(received: int) -> Callable[[grpc.ServicerContext], object]:
        def answer(context: grpc.ServicerContext) -> None:
            blobs.received = received
            gone(context)

        return answer

    blobs.answers = [broken_at(100), broken_at(100), broken_at(len(SENT))]
    client.upload(X)
    assert [header.offset for header in blobs.headers] == [0, 100, 100, len(SENT)]
    assert blobs.bytes == [SENT, SENT[100:], SENT[100:], b""]


def test_an_answer_that_is_lost_is_asked_for(fake: FakeServer, client: Client) -> None:
    blobs = Blobs(fake)

    def lost(context: grpc.ServicerContext) -> None:
        blobs.complete = True
        gone(context)

    blobs.answers = [lost]
    client.upload(X)
    assert len(blobs.headers) == 1


@pytest.mark.parametrize("reason", ["BLOB_MISMATCH", "BLOB_OFFSET_INVALID"])
def test_a_wrong_beginning_is_sent_anew_once(fake: FakeServer, client: Client, reason: str) -> None:
    blobs = Blobs(fake, received=50)

    def wrong(context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "wrong", reason)

    blobs.answers = [wrong]
    client.upload(X)
    assert [header.offset for header in blobs.headers] == [50, 0]
    blobs.complete = False
    blobs.answers = [wrong, wrong]
    with pytest.raises(errors.InvalidArgument) as caught:
        client.upload(X)
    assert caught.value.reason == reason
    assert len(blobs.headers) == 4


def test_an_older_server_that_cannot_tell_gets_the_whole(fake: FakeServer, client: Client) -> None:
    blobs = Blobs(fake)
    fake.script["GetBlob"] = lambda request, context: refuse(context, grpc.StatusCode.UNIMPLEMENTED, "what?")
    client.upload(X)
    assert blobs.bytes == [SENT]


def test_a_server_that_never_has_the_blob_is_not_asked_for_ever(fake: FakeServer, client: Client) -> None:
    blobs = Blobs(fake)
    fake.script["CreateDataset"] = lambda request, context: refuse(
        context, grpc.StatusCode.NOT_FOUND, "no blob", "BLOB_NOT_FOUND"
    )
    with pytest.raises(errors.NotFound, match="no blob"):
        client.upload(X)
    assert len(blobs.headers) == 1


def test_a_broken_connection_ends_the_patience(fake: FakeServer, client: Client) -> None:
    blobs = Blobs(fake)
    blobs.answers = [gone] * 100
    with pytest.raises(errors.ServerGone):
        client.upload(X)
    assert 1 < len(blobs.headers) < 100


def test_content_comes_in_pieces_from_any_position(tmp_path: Path) -> None:
    data = SENT[: 2 * CHUNK_BYTES + 5]
    (tmp_path / "data").write_bytes(data)
    contents: list[Content] = [BytesContent(data), BytesContent(memoryview(data)), FileContent(tmp_path / "data")]
    for content in contents:
        assert (content.size, content.sha256) == (len(data), contents[0].sha256)
        for offset in (0, 1, CHUNK_BYTES, len(data) - 1, len(data)):
            parts = list(content.parts(offset))
            assert b"".join(parts) == data[offset:]
            assert all(0 < len(part) <= CHUNK_BYTES for part in parts)
    assert BytesContent(b"").sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
