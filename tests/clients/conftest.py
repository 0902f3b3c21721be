"""A scripted server on a Unix socket, and clients of it."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gephyra.clients.aio import AsyncClient
from gephyra.clients.sync import Client
from tests.clients.fake import FakeServer


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    # Not pytest's tmp_path: socket paths are limited to 107 characters.
    with tempfile.TemporaryDirectory() as folder:
        server = FakeServer(Path(folder) / "fake.sock")
        server.start()
        yield server
        server.stop()


@pytest.fixture
def client(fake: FakeServer) -> Iterator[Client]:
    with Client(fake.address, patience=3.0) as made:
        yield made


@pytest.fixture
async def async_client(fake: FakeServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(fake.address, patience=3.0) as made:
        yield made
