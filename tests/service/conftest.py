"""A server that the tests share, servers of their own, and stores on each kind of database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gephyra.protos import sampler_service_pb2, target_service_pb2
from gephyra.service.store.database import Store
from gephyra.service.store.places import Place
from gephyra.service.store.postgresql import PostgreSql
from gephyra.service.store.sqlite import Sqlite
from tests.support.postgres import PostgresServer
from tests.support.server import ServerProcess, Stubs, gaussian, register, train


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers that end with the test."""
    running: list[ServerProcess] = []

    def start(data: Path = tmp_path / "data", *arguments: str) -> ServerProcess:
        running.append(ServerProcess(data, arguments))
        return running[-1]

    yield start
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server that tests share; they use names of their own and leave it running."""
    # Without memory for draws: what is asked for again is made again.
    with ServerProcess(tmp_path_factory.mktemp("shared") / "data", ["--draw-cache", "0"]) as server:
        yield server


@pytest.fixture(scope="session")
def stubs(server: ServerProcess) -> Stubs:
    return server.stubs


@pytest.fixture(scope="session")
def normal(stubs: Stubs) -> target_service_pb2.Target:
    """A READY target on the shared server."""
    return register(stubs, gaussian(), "normal-shared")


@pytest.fixture(scope="session")
def sampler(stubs: Stubs, normal: target_service_pb2.Target) -> sampler_service_pb2.Sampler:
    """A trained sampler on the shared server."""
    return train(stubs, normal.name)


@contextmanager
def _sqlite(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield Sqlite(request.getfixturevalue("tmp_path") / "db")


@contextmanager
def _postgresql(request: pytest.FixtureRequest) -> Iterator[Place]:
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.make()
    yield PostgreSql(url)
    server.drop(url)


@pytest.fixture(params=[_sqlite, _postgresql], ids=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty database, of each kind that there is."""
    with request.param(request) as place:
        yield place


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    """A store on it."""
    store = Store(place)
    yield store
    store.close()
