"""A run with typed options, one that goes on from its sampler, and what cannot be gone on from."""

import uuid
from typing import Any

import grpc
import pytest
import torch

from gephyra.protos import report_pb2, sampler_service_pb2, target_service_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.settings import Budget, TrainingSettings
from gephyra.service.config import TENANT
from gephyra.service.errors import NotFound, status_failure
from gephyra.service.store import samplers, targets
from gephyra.service.store.database import Store
from gephyra.service.store.records import SamplerRecord, TargetRecord, TargetState
from gephyra.service.training_service import _create
from tests.support.refusal import refused
from tests.support.server import Stubs, create_job, gaussian, get_job, register, train, watch
from tests.support.wire import REPORT

FIRST = pb.TrainingConfig(
    method=pb.METHOD_CMCD, loss=pb.LOSS_TB, precondition=pb.PRECONDITION_NONE, iterations=5, batch_size=16, steps=4,
    width=8, learn_time=False, goal_ess_fraction=0.99, precision=pb.PRECISION_FLOAT64, device=pb.DEVICE_CPU,
    learning_rate=0.1, prior_rate=2.0, ema=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def first(stubs: Stubs, normal: target_service_pb2.Target) -> sampler_service_pb2.Sampler:
    """A sampler to go on from."""
    return train(stubs, normal.name, FIRST)


def test_what_was_asked_for_is_what_was_done(first: sampler_service_pb2.Sampler) -> None:
    asked = {field.name: value for field, value in FIRST.ListFields()}
    assert {name: getattr(first.config, name) for name in asked} == asked
    assert first.report.served in report_pb2.Served.values()
    assert first.report.served != report_pb2.SERVED_UNSPECIFIED
    # Nothing to compare with: coordinates were not sought.
    assert not first.report.precondition.HasField("elbo")


def test_a_run_goes_on_from_a_sampler(
    stubs: Stubs, normal: target_service_pb2.Target, first: sampler_service_pb2.Sampler
) -> None:
    # One step that moves nothing shows where it began: at the parameters of the former, not at fresh ones.
    still = {"iterations": 1, "learning_rate": 1e-9, "ema": 0.0, "precision": pb.PRECISION_FLOAT64}
    config = pb.TrainingConfig(**still, start=first.name)  # type: ignore[arg-type]
    job = create_job(stubs, normal.name, config)
    assert job.config.start == first.name
    watch(stubs, job.name)
    job = get_job(stubs, job.name)
    assert job.state == pb.JOB_STATE_SUCCEEDED, job.error
    inherited = ("method", "precondition", "steps", "width")
    assert all(getattr(job.config, name) == getattr(first.config, name) for name in inherited)
    second = stubs.sampler.GetSampler(sampler_service_pb2.GetSamplerRequest(name=job.sampler))
    assert second.report.elbo == pytest.approx(first.report.elbo, abs=1e-4)
    fresh = train(stubs, normal.name, pb.TrainingConfig(**{**parts(FIRST), **still}))
    assert abs(fresh.report.elbo - first.report.elbo) > 0.01


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_fails_the_job_by_its_name(stubs: Stubs, normal: target_service_pb2.Target) -> None:
    job = create_job(stubs, normal.name, pb.TrainingConfig(iterations=1, device=pb.DEVICE_CUDA))
    watch(stubs, job.name)
    failure = status_failure(get_job(stubs, job.name).error)
    assert (failure.reason, failure.field) == ("INCONSISTENT_SETTINGS", "config.device")
    assert "use auto or cpu" in failure.message


def parts(config: pb.TrainingConfig) -> dict[str, Any]:
    return {field.name: value for field, value in config.ListFields()}


def test_a_start_must_be_a_sampler_of_this_target_and_size(
    stubs: Stubs, normal: target_service_pb2.Target, first: sampler_service_pb2.Sampler
) -> None:
    same = register(stubs, gaussian(3), "normal-of-the-same-content")
    other = register(stubs, gaussian(2), "normal-of-other-content")
    good = pb.TrainingConfig(iterations=1, start=first.name)
    cases: list[tuple[str, pb.TrainingConfig, str, str]] = [
        (normal.name, pb.TrainingConfig(start="nothing"), "FIELD_INVALID", "config.start"),
        (other.name, good, "INCONSISTENT_SETTINGS", "config.start"),
        (normal.name, pb.TrainingConfig(start=first.name, steps=5), "INCONSISTENT_SETTINGS", "config.steps"),
        (
            normal.name,
            pb.TrainingConfig(start=first.name, method=pb.METHOD_DBS),
            "INCONSISTENT_SETTINGS",
            "config.method",
        ),
    ]
    for target, config, reason, field in cases:
        refusal = refused(lambda target=target, config=config: create_job(stubs, target, config))  # type: ignore[misc]
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert refusal.fields == (field,)
    missing = refused(lambda: create_job(stubs, normal.name, pb.TrainingConfig(start="samplers/nothing")))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "SAMPLER_NOT_FOUND")
    # A name is only a name.
    job = create_job(stubs, same.name, good)
    stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job.name))


REQUEST = pb.CreateTrainingJobRequest(
    target="targets/t-one",
    request_id=str(uuid.uuid4()),
    config=pb.TrainingConfig(iterations=1, start="samplers/sampler-one"),
)


@pytest.fixture
def store(store: Store) -> Store:
    """With a target."""
    target = TargetRecord("t-one", "uid-t", TargetState.CHECKING, "d1", 3, "somewhere", 1)
    store.write_now(targets.add, TENANT, target)
    store.write_now(targets.set_ready, TENANT, "uid-t", 3, None, ())
    return store


def test_a_start_may_be_deleted_once_the_job_is_made(store: Store) -> None:
    settings = TrainingSettings(steps=5, budget=Budget(iterations=1))
    earlier = SamplerRecord("sampler-one", "uid", "t-one", "d1", "job-one", settings, REPORT, 3, (), "d2", 9)
    store.write_now(samplers.add, TENANT, earlier)
    job = store.write_now(_create, REQUEST, 10)
    assert (job.start, job.start_digest, job.settings) == ("sampler-one", "d2", settings)
    assert store.write_now(samplers.remove, TENANT, "sampler-one")
    # The same request again is answered with what it made, whatever has gone since.
    assert store.write_now(_create, REQUEST, 11) == job
    with pytest.raises(NotFound, match="samplers/sampler-one"):
        store.write_now(_create, pb.CreateTrainingJobRequest(target=REQUEST.target, config=REQUEST.config), 12)
