"""A server that the tests share, and servers of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gephyra.protos import sampler_service_pb2, target_service_pb2
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
