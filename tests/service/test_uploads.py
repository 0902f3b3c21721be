"""Blobs across broken streams: what came is kept, another stream goes on there, and content is always as announced."""

import contextlib
import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gephyra.protos import blob_service_pb2 as pb
from gephyra.protos import target_service_pb2, tensor_pb2
from gephyra.service.uploads import Uploads
from tests.support.refusal import refused
from tests.support.server import ServerProcess, Stubs, register, wait_for
from tests.support.tables import CHUNK, blob_of, create, raw, upload_requests
from tests.support.wire import square_program

CONTENT = np.random.Generator(np.random.Philox(5)).bytes(10 * CHUNK + 17)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@given(breaks=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6))
def test_whatever_breaks_the_whole_is_what_was_announced(
    tmp_path_factory: pytest.TempPathFactory, breaks: list[tuple[int, int]]
) -> None:
    """Each stream goes on before or at the end of what is kept, brings some bytes and breaks; the last one ends."""
    content = bytes(range(50))
    sha256 = hashlib.sha256(content).hexdigest()
    uploads = Uploads(tmp_path_factory.mktemp("uploads"))
    longest = 0
    for back, more in breaks:
        offset = max(0, uploads.received(sha256) - back)
        with contextlib.suppress(ConnectionResetError), uploads.begin(sha256) as upload:
            if offset:
                upload.resume(offset)
            upload.write(content[offset : offset + more])
            raise ConnectionResetError
        longest = max(longest if offset == 0 else offset, min(offset + more, 50))
        assert uploads.received(sha256) == longest
        assert uploads.whole.size(sha256) is None
    offset = uploads.received(sha256)
    with uploads.begin(sha256) as upload:
        if offset:
            upload.resume(offset)
        upload.write(content[offset:])
        assert (upload.size, upload.sha256) == (50, sha256)
        upload.commit()
    assert uploads.whole.read(sha256) == content
    assert uploads.received(sha256) == 0
    assert list((uploads.whole.folder / "staging").iterdir()) == []


def test_nothing_goes_on_from_bytes_that_did_not_come(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    with uploads.begin("aa") as upload, pytest.raises(ValueError, match="fewer than 1 bytes"):
        upload.resume(1)
    with uploads.begin("aa") as upload:
        upload.write(b"123")
    # Asking for too much loses nothing.
    with uploads.begin("aa") as upload, pytest.raises(ValueError, match="fewer than 4 bytes"):
        upload.resume(4)
    with uploads.begin("aa") as upload:
        upload.resume(2)
        assert upload.sha256 == hashlib.sha256(b"12").hexdigest()
        upload.drop()
    assert uploads.received("aa") == 0
    assert list((tmp_path / "staging").iterdir()) == []


def test_what_nobody_takes_is_dropped_after_a_while(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    with uploads.begin("aa") as upload:
        upload.write(b"half")
    with uploads.begin("bb") as upload:
        upload.write(b"whole")
        whole = upload.sha256
        upload.commit()
    assert uploads.sweep(os.stat(tmp_path / "unfinished/aa").st_mtime - 10) == []
    assert (uploads.received("aa"), uploads.whole.size(whole)) == (4, 5)
    assert uploads.sweep(os.stat(tmp_path / "unfinished/aa").st_mtime + 10) == [whole]
    assert (uploads.received("aa"), uploads.whole.size(whole)) == (0, None)


def received(stubs: Stubs, content: bytes = CONTENT) -> tuple[int, bool]:
    """What the server says it has of a blob."""
    try:
        blob = stubs.blob.GetBlob(pb.GetBlobRequest(name=blob_of(content)))
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return 0, False
    return blob.received_bytes, blob.complete


def break_off(server: ServerProcess, content: bytes, offset: int = 0) -> None:
    """Send some messages, wait until the server has written most of them, and end the call as a client that dies."""
    ended, staging = threading.Event(), server.data / "artefacts/uploads/staging"

    def sending() -> Iterator[pb.UploadBlobRequest]:
        yield from upload_requests(content, offset)[:4]
        ended.wait(60)

    call = server.stubs.blob.UploadBlob.future(sending())
    wait_for(lambda: any(path.stat().st_size > 2 * CHUNK for path in staging.glob("*")), what="two written messages")
    call.cancel()
    ended.set()
    wait_for(lambda: received(server.stubs, content)[0] > offset, what="bytes of a broken stream")


def test_a_broken_stream_is_gone_on_with_over_the_wire(server: ServerProcess, stubs: Stubs) -> None:
    break_off(server, CONTENT)
    first, complete = received(stubs)
    assert not complete
    assert 2 * CHUNK < first <= 3 * CHUNK
    # It is no blob yet.
    blob = tensor_pb2.BlobArray(blob=blob_of(CONTENT), dtype=tensor_pb2.DTYPE_UINT8, shape=[len(CONTENT)])
    definition = square_program(arrays=[tensor_pb2.DataArray(blob=blob)])
    request = target_service_pb2.CreateTargetRequest(definition=definition)
    assert refused(lambda: stubs.target.CreateTarget(request)).reason == "BLOB_NOT_FOUND"
    beyond = upload_requests(CONTENT, first + 1)
    assert refused(lambda: stubs.blob.UploadBlob(iter(beyond))).reason == "BLOB_OFFSET_INVALID"
    assert received(stubs) == (first, False)
    # From before the end of what came is fine as well.
    assert stubs.blob.UploadBlob(iter(upload_requests(CONTENT, first - 1))).size_bytes == len(CONTENT)
    assert received(stubs) == (len(CONTENT), True)
    assert register(stubs, definition).state == target_service_pb2.Target.STATE_READY


def test_a_beginning_of_something_else_is_found_out_and_forgotten(server: ServerProcess, stubs: Stubs) -> None:
    content, other = CONTENT[::-1], bytes(5 * CHUNK)
    uploads = Uploads(server.data / "artefacts/uploads")
    with contextlib.suppress(ConnectionResetError), uploads.begin(hashlib.sha256(content).hexdigest()) as upload:
        upload.write(other)
        raise ConnectionResetError
    offset, _ = received(stubs, content)
    assert offset == len(other)
    refusal = refused(lambda: stubs.blob.UploadBlob(iter(upload_requests(content, offset))))
    assert (refusal.reason, refusal.fields) == ("BLOB_MISMATCH", ("header.sha256",))
    assert received(stubs, content) == (0, False)
    stubs.blob.UploadBlob(iter(upload_requests(content)))
    assert received(stubs, content) == (len(content), True)


def test_offsets_and_names_are_checked(stubs: Stubs) -> None:
    for offset in (-1, 4):
        header = upload_requests(b"abc")[0]
        header.header.offset = offset
        assert refused(lambda header=header: stubs.blob.UploadBlob(iter([header]))).fields == ("header.offset",)  # type: ignore[misc]
    for name in ("blobs/zz", "abc", f"targets/{SHA256}"):
        request = pb.GetBlobRequest(name=name)
        assert refused(lambda request=request: stubs.blob.GetBlob(request)).fields == ("name",)  # type: ignore[misc]
    missing = refused(lambda: stubs.blob.GetBlob(pb.GetBlobRequest(name=blob_of(b"never sent"))))
    assert (missing.reason, missing.resource) == ("BLOB_NOT_FOUND", blob_of(b"never sent"))


def test_unfinished_uploads_survive_a_restart(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    content = np.arange(1.5 * CHUNK).tobytes()
    break_off(server, content)
    before = received(server.stubs, content)
    server.stop(signal.SIGTERM)
    server.start()
    assert received(server.stubs, content) == before
    server.stubs.blob.UploadBlob(iter(upload_requests(content, before[0])))
    array = np.frombuffer(content).reshape(-1, 3)
    assert create(server.stubs, raw(array)).content_sha256 == hashlib.sha256(content).hexdigest()
