"""An upload across a real loopback socket that breaks at random bytes arrives whole, and is not seen before."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gephyra.clients import errors
from gephyra.clients.sync import Client
from gephyra.protos import blob_service_pb2
from tests.support.proxy import cutting_proxy
from tests.support.server import ServerProcess, wait_for

ROWS, COLUMNS = 40_000, 6
SIZE = ROWS * COLUMNS * 8


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder) / "data") as server:
        yield server


@settings(max_examples=12)
@given(
    first=st.integers(4096, SIZE + 8192),
    others=st.lists(st.integers(1, SIZE + 8192), max_size=2),
    seed=st.integers(0, 2**32),
)
def test_an_upload_that_breaks_anywhere_goes_on_where_it_broke(
    server: ServerProcess, first: int, others: list[int], seed: int
) -> None:
    table = np.random.Generator(np.random.Philox(seed)).standard_normal((ROWS, COLUMNS))
    with cutting_proxy(server.socket, [first, *others]) as proxy, Client(proxy.address, patience=20.0) as client:
        sent = client.upload(table, progress=False)
    assert sent.content_sha256 == hashlib.sha256(table.tobytes()).hexdigest()
    assert sent.shape == (ROWS, COLUMNS)
    with Client(f"unix:{server.socket}") as client:
        (dataset,) = client.datasets()
        assert dataset.name == sent.name
        dataset.delete()


def test_nothing_half_uploaded_is_seen_and_another_client_goes_on(server: ServerProcess) -> None:
    table = np.random.Generator(np.random.Philox(1)).standard_normal((ROWS, COLUMNS))
    name = f"blobs/{hashlib.sha256(table.tobytes()).hexdigest()}"
    # Every connection of the first client is cut in the middle: it runs out of patience.
    with (
        cutting_proxy(server.socket, [SIZE // 2] + [1] * 50) as proxy,
        Client(proxy.address, patience=0.5) as client,
        pytest.raises(errors.GephyraError),
    ):
        client.upload(table, "half-sent", progress=False)
    with Client(f"unix:{server.socket}") as client:
        assert client.datasets() == []
        with pytest.raises(errors.NotFound):
            client.dataset("half-sent")
        # The server may need a moment to see that nobody sends any more.
        wait_for(lambda: _kept(server, name).received_bytes > 0, what="what came is kept")
        blob = _kept(server, name)
        assert not blob.complete
        assert 0 < blob.received_bytes < SIZE
        # Another client, as after a restart of the process, sends what is missing and no more.
        with cutting_proxy(server.socket, []) as proxy, Client(proxy.address) as second:
            dataset = second.upload(table, "half-sent", progress=False)
        assert dataset.content_sha256 == name.removeprefix("blobs/")
        assert SIZE - blob.received_bytes < proxy.passed < SIZE - blob.received_bytes + 16_384
        dataset = client.dataset("half-sent")
        dataset.delete()
        assert not any((server.data / "artefacts").rglob(dataset.content_sha256))


def _kept(server: ServerProcess, name: str) -> blob_service_pb2.Blob:
    """What the server has of a blob; an empty record for nothing."""
    try:
        return server.stubs.blob.GetBlob(blob_service_pb2.GetBlobRequest(name=name))
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return blob_service_pb2.Blob()
