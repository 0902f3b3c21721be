"""Settings of the whole suite: one thread, property tests that repeat themselves in CI; servers of PostgreSQL."""

import os
from collections.abc import Iterator

import hypothesis
import pytest
import torch

from tests.support.postgres import MISSING, PostgresServer, binaries

# Wall time says nothing on a shared machine, so no deadline. CI must not fail by a lucky find.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """One intra-op thread: sums come out the same everywhere, and tests in parallel do not fight for cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server; the test is skipped where there is none."""
    programs = binaries()
    if programs is None:
        pytest.skip(MISSING)
    server = PostgresServer(programs)
    yield server
    server.close()


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """Of an empty database of PostgreSQL."""
    url = postgres.make()
    yield url
    postgres.drop(url)


@pytest.fixture
def own(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server of PostgreSQL that a test may stop."""
    server = PostgresServer(postgres.programs)
    yield server
    server.close()
