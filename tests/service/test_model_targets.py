"""A model of data as a target on a live server: registered, evaluated, sampled, kept, moved, and refused."""

import hashlib
from collections.abc import Callable

import grpc
import numpy as np
import pytest

from gephyra.protos import sampler_service_pb2 as sp
from gephyra.protos import target_service_pb2 as tp
from gephyra.protos import training_service_pb2 as pb
from gephyra.service.tensors import from_tensor, to_tensor
from tests.support.models import model
from tests.support.refusal import refused
from tests.support.server import ServerProcess, Stubs, create_job, get_job, register, wait_for
from tests.support.tables import upload_requests

# Every point costs some hundred evaluations of the model.
FEW = pb.TrainingConfig(iterations=5, batch_size=16, steps=1, width=8, precondition=pb.PRECONDITION_NONE)


def pairs() -> np.ndarray:
    return np.random.default_rng(5).normal([3.0, -1.0], [2.0, 0.5], (300, 2))


def of(sampler: str) -> tp.TargetDefinition:
    return tp.TargetDefinition(model=tp.TrainedModel(sampler=sampler))


def evaluate(stubs: Stubs, target: str) -> np.ndarray:
    answer = stubs.target.EvaluateTarget(tp.EvaluateTargetRequest(name=target, x=to_tensor(pairs()[:20])))
    return from_tensor(answer.log_density, "log_density")


@pytest.fixture(scope="module")
def trained(stubs: Stubs) -> sp.Sampler:
    return model(stubs, pairs(), "rows-of-model")


@pytest.fixture(scope="module")
def target(stubs: Stubs, trained: sp.Sampler) -> tp.Target:
    return register(stubs, of(trained.name), "model-of-rows")


def test_a_model_of_data_is_a_target_with_log_z_zero(stubs: Stubs, trained: sp.Sampler, target: tp.Target) -> None:
    assert (target.state, target.dim, target.log_z) == (tp.Target.STATE_READY, 2, 0.0)
    assert target.HasField("log_z")
    assert target.source == f"model of datasets/rows-of-model, {trained.name}"
    x = to_tensor(pairs()[:20])
    known = stubs.sampling.EvaluateLogProb(sp.EvaluateLogProbRequest(sampler=trained.name, x=x))
    assert np.allclose(evaluate(stubs, target.name), from_tensor(known.log_prob, "log_prob"), atol=2e-2)
    # Again, by name or by file: the same content.
    assert register(stubs, of(trained.name), "model-of-rows") == target


def test_its_examination_passes(stubs: Stubs, target: tp.Target) -> None:
    findings = stubs.target.CheckTarget(tp.CheckTargetRequest(name=target.name, points=4)).findings
    assert {found.check for found in findings} == {"finite", "tails", "score", "batch", "speed"}
    assert not [found for found in findings if not found.passed]


def test_a_target_outlives_its_model(stubs: Stubs) -> None:
    sampler = model(stubs, pairs()[:200], "rows-to-delete")
    made = register(stubs, of(sampler.name), "model-to-keep")
    before = evaluate(stubs, made.name)
    stubs.sampler.DeleteSampler(sp.DeleteSamplerRequest(name=sampler.name))
    assert np.array_equal(evaluate(stubs, made.name), before)
    assert refused(lambda: register(stubs, of(sampler.name))).reason == "SAMPLER_NOT_FOUND"


@pytest.mark.slow
def test_a_target_moves_with_its_bridge(stubs: Stubs, target: tp.Target, serve: Callable[..., ServerProcess]) -> None:
    """Slow because a report needs some 40 000 evaluations."""
    job = create_job(stubs, target.name, FEW)
    wait_for(lambda: get_job(stubs, job.name).state == pb.JOB_STATE_SUCCEEDED, 300.0, "the end of the job")
    bridge = stubs.sampler.GetSampler(sp.GetSamplerRequest(name=get_job(stubs, job.name).sampler))
    content = b"".join(part.data for part in stubs.sampler.ExportSampler(sp.ExportSamplerRequest(name=bridge.name)))
    other = serve().stubs
    messages = [sp.ImportSamplerRequest(header=sp.ImportSamplerRequest.Header()), sp.ImportSamplerRequest(data=content)]
    imported = other.sampler.ImportSampler(iter(messages))
    assert imported.report == bridge.report
    assert np.array_equal(evaluate(other, imported.target), evaluate(stubs, target.name))


def test_what_has_no_density_is_refused(stubs: Stubs, sampler: sp.Sampler, target: tp.Target) -> None:
    levels = model(stubs, np.random.default_rng(6).integers(0, 4, (300, 2)).astype(np.uint8), "levels-of-model")

    def request(definition: tp.TargetDefinition) -> Callable[[], tp.Target]:
        return lambda: stubs.target.CreateTarget(tp.CreateTargetRequest(definition=definition))

    for name, word in ((levels.name, "levels"), (sampler.name, "samples a target")):
        found = refused(request(of(name)))
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SAMPLER_UNSUITED")
        assert found.fields == ("definition.model.sampler",)
        assert word in found.message
    missing = refused(request(of("samplers/of-nobody")))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "SAMPLER_NOT_FOUND")
    neither = refused(request(tp.TargetDefinition(model=tp.TrainedModel())))
    assert neither.fields == ("definition.model",)
    unknown = refused(request(tp.TargetDefinition(model=tp.TrainedModel(blob=f"blobs/{'0' * 64}"))))
    assert unknown.reason == "BLOB_NOT_FOUND"
    content = b"not a model"
    stubs.blob.UploadBlob(iter(upload_requests(content)))
    blob = f"blobs/{hashlib.sha256(content).hexdigest()}"
    rejected = register(stubs, tp.TargetDefinition(model=tp.TrainedModel(blob=blob)))
    assert rejected.state == tp.Target.STATE_REJECTED
    assert "damaged" in rejected.error.message
