"""Models of data as files: exported from one server, brought into another, and refused where they are damaged."""

from collections.abc import Callable
from functools import partial

import grpc
import numpy as np
import pytest

from gephyra.protos import sampler_service_pb2 as sp
from gephyra.service.tensors import from_tensor
from tests.support.models import model
from tests.support.refusal import refused
from tests.support.server import ServerProcess, Stubs


@pytest.fixture(scope="module")
def trained(stubs: Stubs) -> sp.Sampler:
    rows = np.random.default_rng(5).standard_normal((300, 2))
    return model(stubs, rows, "data-of-file", column_names=["height", "weight"])


@pytest.fixture(scope="module")
def levels(stubs: Stubs) -> sp.Sampler:
    return model(stubs, np.random.default_rng(6).integers(0, 4, (300, 2)).astype(np.uint8), "levels-of-file")


def drawn(stubs: Stubs, sampler: sp.Sampler) -> np.ndarray:
    parts = stubs.sampling.DrawSamples(sp.DrawSamplesRequest(sampler=sampler.name, count=20, seed=3))
    return np.concatenate([from_tensor(part.chunk.x, "x") for part in parts if part.WhichOneof("part") == "chunk"])


def brought(stubs: Stubs, content: bytes, **header: str) -> sp.Sampler:
    messages = [sp.ImportSamplerRequest(header=sp.ImportSamplerRequest.Header(**header))]
    messages += [sp.ImportSamplerRequest(data=content[n : n + 10_000]) for n in range(0, len(content), 10_000)]
    return stubs.sampler.ImportSampler(iter(messages))


@pytest.mark.slow
def test_an_exported_model_draws_the_same_elsewhere(
    stubs: Stubs, trained: sp.Sampler, levels: sp.Sampler, serve: Callable[..., ServerProcess]
) -> None:
    other = serve()
    for sampler in (trained, levels):
        parts = stubs.sampler.ExportSampler(sp.ExportSamplerRequest(name=sampler.name))
        content = b"".join(part.data for part in parts)
        imported = brought(other.stubs, content)
        same = ("denoising", "denoising_report", "dim", "target", "digest")
        assert [getattr(imported, name) for name in same] == [getattr(sampler, name) for name in same]
        assert list(imported.sites) == list(sampler.sites)
        assert (imported.dataset, imported.training_job) == ("", "")
        # The data are here by the same name.
        assert brought(stubs, content).dataset == sampler.dataset
        refusal = refused(partial(brought, stubs, content, target_id="some-target"))
        assert refusal.fields == ("header.target_id",)
        # A restart changes nothing.
        other.stop()
        other.start()
        assert other.stubs.sampler.GetSampler(sp.GetSamplerRequest(name=imported.name)) == imported
        assert np.array_equal(drawn(other.stubs, imported), drawn(stubs, sampler))


def test_a_damaged_model_file_is_refused(stubs: Stubs, trained: sp.Sampler) -> None:
    parts = stubs.sampler.ExportSampler(sp.ExportSamplerRequest(name=trained.name))
    content = b"".join(part.data for part in parts)
    damage = {
        "another tensor": (b"sampler/model.", b"sampler/medol."),
        "another column": (b'\\"height\\", ', b"          " + b" " * 4),
        "names twice": (b"height", b"weight"),
        "another kind": (b"gephyra.model", b"gephyra.medol"),
    }
    for what, (before, after) in damage.items():
        assert before in content, what
        refusal = refused(partial(brought, stubs, content.replace(before, after)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SAMPLER_FILE_INVALID"), what
