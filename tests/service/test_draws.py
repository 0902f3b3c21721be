"""Draw i is a pure function of (sampler, seed, i): chunks, ranges, breaks and restarts cannot change it."""

import hashlib
import random
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from gephyra.protos import sampler_service_pb2 as pb
from gephyra.protos import target_service_pb2
from gephyra.samplers.evaluate import BLOCK_SIZE
from tests.support.refusal import refused
from tests.support.server import ServerProcess, Stubs, register, train, wait_for

COUNT = 5000
MOST_BYTES = 256 * 1024


class Stream(NamedTuple):
    """What one call of DrawSamples sent."""

    x: bytes
    log_weight: bytes
    digest: str
    chunks: list[pb.DrawSamplesResponse.Chunk]


def draw(
    stubs: Stubs, sampler: str, count: int, start: int = 0, chunk_size: int = 0, omit_sites: bool = False,
    how: pb.DrawSettings | None = None,
) -> Stream:  # fmt: skip
    request = pb.DrawSamplesRequest(
        sampler=sampler, count=count, seed=7, start_index=start, chunk_size=chunk_size, omit_sites=omit_sites, how=how
    )
    first, *middle, last = stubs.sampling.DrawSamples(request)
    assert first.WhichOneof("part") == "header"
    assert (last.trailer.count, last.WhichOneof("part")) == (count, "trailer")
    chunks = [message.chunk for message in middle]
    assert [c.start_index for c in chunks] == [start + sum(c.count for c in chunks[:n]) for n in range(len(chunks))]
    x, log_weight = (b"".join(getattr(c, name).data for c in chunks) for name in ("x", "log_weight"))
    assert hashlib.sha256(x + log_weight).hexdigest() == last.trailer.sha256
    return Stream(x, log_weight, last.trailer.sha256, chunks)


@pytest.fixture(scope="module")
def whole(stubs: Stubs, sampler: pb.Sampler) -> Stream:
    return draw(stubs, sampler.name, COUNT)


@pytest.mark.parametrize("chunk_size", [1, 7, 256, 10_000])
def test_chunk_size_changes_nothing(stubs: Stubs, sampler: pb.Sampler, whole: Stream, chunk_size: int) -> None:
    stream = draw(stubs, sampler.name, COUNT, chunk_size=chunk_size)
    assert stream.digest == whole.digest
    assert all(chunk.count <= chunk_size for chunk in stream.chunks)
    assert all(chunk.count == stream.chunks[0].count for chunk in stream.chunks[:-1])


def test_a_broken_stream_goes_on_where_it_broke(stubs: Stubs, sampler: pb.Sampler, whole: Stream) -> None:
    for index in random.Random(3).sample(range(1, COUNT), 4):
        head, tail = draw(stubs, sampler.name, index), draw(stubs, sampler.name, COUNT - index, start=index)
        assert head.x + tail.x == whole.x
        assert head.log_weight + tail.log_weight == whole.log_weight


@pytest.mark.parametrize(
    "how",
    [
        pb.DrawSettings(resample=True),
        pb.DrawSettings(polish=pb.POLISH_MALA, polish_steps=2),
        pb.DrawSettings(polish=pb.POLISH_IMH_MALA, polish_steps=2),
    ],
    ids=str,
)
def test_draws_of_every_kind_are_functions_of_their_index(
    stubs: Stubs, sampler: pb.Sampler, whole: Stream, how: pb.DrawSettings
) -> None:
    count, cut = BLOCK_SIZE + 100, 300
    once = draw(stubs, sampler.name, count, how=how)
    assert once.x != whole.x[: len(once.x)]
    head, tail = (draw(stubs, sampler.name, n, start=start, how=how) for n, start in ((cut, 0), (count - cut, cut)))
    assert (head.x + tail.x, head.log_weight + tail.log_weight) == (once.x, once.log_weight)
    weights = np.frombuffer(once.log_weight)
    if how.polish == pb.POLISH_MALA:
        # Langevin steps keep the weights; the others give each draw of a block the block's mean.
        assert once.log_weight == whole.log_weight[: len(once.log_weight)]
    else:
        assert (len(set(weights[:BLOCK_SIZE])), len(set(weights))) == (1, 2)


def test_draws_that_the_sampler_cannot_make_are_refused(stubs: Stubs, sampler: pb.Sampler) -> None:
    request = pb.DrawSamplesRequest(sampler=sampler.name, count=1, how=pb.DrawSettings(smc=True))
    refusal = refused(lambda: list(stubs.sampling.DrawSamples(request)))
    assert (refusal.reason, refusal.fields) == ("INCONSISTENT_SETTINGS", ("how.smc",))


def test_another_seed_gives_other_draws(stubs: Stubs, sampler: pb.Sampler, whole: Stream) -> None:
    """Seeds that differ only beyond 32 bits too."""
    request = pb.DrawSamplesRequest(sampler=sampler.name, count=10, seed=7 + 2**32)
    _, message, _ = stubs.sampling.DrawSamples(request)
    assert message.chunk.x.data != whole.x[: len(message.chunk.x.data)]


def test_draws_are_float32_points_with_float64_weights(whole: Stream, sampler: pb.Sampler) -> None:
    x = np.frombuffer(whole.x, "<f4").reshape(COUNT, sampler.dim)
    log_weight = np.frombuffer(whole.log_weight, "<f8")
    assert log_weight.shape == (COUNT,)
    assert np.isfinite(x).all()
    assert np.isfinite(log_weight).all()
    # A sampler of a standard normal that starts at a standard normal: within 6 standard errors of its moments.
    assert np.abs(x.mean(0)).max() < 6 / COUNT**0.5 + 0.1


def test_a_client_that_goes_away_frees_the_worker(stubs: Stubs, sampler: pb.Sampler) -> None:
    call = stubs.sampling.DrawSamples(pb.DrawSamplesRequest(sampler=sampler.name, count=10**7, seed=1))
    assert next(call).WhichOneof("part") == "header"
    next(call)
    call.cancel()
    # There is one worker; it would be at work for minutes.
    draw(stubs, sampler.name, 10)


@pytest.fixture(scope="module")
def with_sites(stubs: Stubs) -> pb.Sampler:
    """A sampler whose target has sites of its own."""
    catalogue = target_service_pb2.CatalogueTarget(family="eight-schools")
    target = register(stubs, target_service_pb2.TargetDefinition(catalogue=catalogue))
    assert target.sites, "the test needs a target with a constraining map"
    return train(stubs, target.name)


def test_sites_come_with_the_draws_and_do_not_change_them(stubs: Stubs, with_sites: pb.Sampler) -> None:
    full, bare = (draw(stubs, with_sites.name, 3000, omit_sites=omit) for omit in (False, True))
    assert full.digest == bare.digest
    assert [site.name for site in full.chunks[0].sites] == [site.name for site in with_sites.sites]
    assert all(not chunk.sites for chunk in bare.chunks)
    for chunk in full.chunks:
        assert chunk.ByteSize() <= MOST_BYTES + 1024
        assert all(list(site.tensor.shape[:1]) == [chunk.count] for site in chunk.sites)
    # Sites are computed by block too: a range gives the same bytes.
    part = draw(stubs, with_sites.name, 100, start=1234, chunk_size=100)
    again = draw(stubs, with_sites.name, 100, start=1234, chunk_size=33)
    for n, site in enumerate(part.chunks[0].sites):
        assert b"".join(chunk.sites[n].tensor.data for chunk in again.chunks) == site.tensor.data
        assert site.tensor.data in b"".join(chunk.sites[n].tensor.data for chunk in full.chunks)


@pytest.mark.slow
def test_an_exported_sampler_draws_the_same_elsewhere(
    stubs: Stubs, sampler: pb.Sampler, whole: Stream, serve: Callable[..., ServerProcess]
) -> None:
    content = b"".join(part.data for part in stubs.sampler.ExportSampler(pb.ExportSamplerRequest(name=sampler.name)))
    other = serve()
    header = pb.ImportSamplerRequest.Header(request_id="00000000-0000-4000-8000-000000000001")
    messages = [pb.ImportSamplerRequest(header=header)]
    messages += [pb.ImportSamplerRequest(data=content[n : n + 1000]) for n in range(0, len(content), 1000)]
    imported = other.stubs.sampler.ImportSampler(iter(messages))
    assert (imported.target, imported.report, imported.config) == (sampler.target, sampler.report, sampler.config)
    assert imported.training_job == ""
    assert draw(other.stubs, imported.name, COUNT).digest == whole.digest
    assert other.stubs.sampler.ImportSampler(iter(messages)) == imported
    # A restart changes nothing either.
    other.stop()
    other.start()
    assert draw(other.stubs, imported.name, COUNT).digest == whole.digest


def test_a_worker_that_is_killed_is_replaced(server: ServerProcess, sampler: pb.Sampler, whole: Stream) -> None:
    workers = server.workers()
    assert workers
    for worker in workers:
        worker.kill()
    wait_for(lambda: not server.workers(), what="the end of the workers")
    assert draw(server.stubs, sampler.name, COUNT).digest == whole.digest


def test_fresh_noise_gives_a_fresh_report(stubs: Stubs, sampler: pb.Sampler) -> None:
    def estimate(seed: int) -> pb.EstimateEvidenceResponse:
        return stubs.sampling.EstimateEvidence(pb.EstimateEvidenceRequest(sampler=sampler.name, count=2048, seed=seed))

    first, again, other = estimate(1), estimate(1), estimate(2)
    assert first.report == again.report
    assert (first.report.paths, first.report.seed) == (2048, 1)
    assert first.report.log_z != other.report.log_z
    # log Z is 0; the error is stated.
    assert abs(first.report.log_z) < 6 * first.report.log_z_se + 0.05


def test_indices_are_consecutive(whole: Stream) -> None:
    assert all(b.start_index == a.start_index + a.count for a, b in pairwise(whole.chunks))
