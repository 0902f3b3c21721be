"""Settings of the whole suite: one thread, and property tests that repeat themselves in CI."""

import os

import hypothesis
import pytest
import torch

# Wall time says nothing on a shared machine, so no deadline. CI must not fail by a lucky find.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """One intra-op thread: sums come out the same everywhere, and tests in parallel do not fight for cores."""
    torch.set_num_threads(1)
