"""A data set whose rows are draws of a target, on a live server: the score is used, needed, told of, and refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2

from gephyra.protos import dataset_service_pb2 as ds
from gephyra.protos import denoising_pb2, target_service_pb2
from gephyra.protos import sampler_service_pb2 as sp
from gephyra.protos import training_service_pb2 as pb
from gephyra.service.config import TENANT
from gephyra.service.errors import FailedPrecondition, Failure, ServiceError
from gephyra.service.store import datasets, targets
from gephyra.service.store.database import Store
from gephyra.service.store.records import TargetRecord, TargetState
from gephyra.service.training_service import _create
from tests.service.test_models_of_data import LONG, QUICK
from tests.service.test_store_models import DATASET
from tests.support.refusal import refused
from tests.support.server import Stubs, gaussian, get_job, register, wait_for, watch
from tests.support.tables import create, raw


def how(target: str, base: pb.DenoisingConfig = QUICK, **fields: Any) -> pb.DenoisingConfig:
    config = pb.DenoisingConfig(score_of=target, **fields)
    config.MergeFrom(base)
    return config


def start(stubs: Stubs, dataset: str, config: pb.DenoisingConfig) -> pb.TrainingJob:
    return stubs.training.CreateTrainingJob(pb.CreateTrainingJobRequest(dataset=dataset, denoising=config))


@pytest.fixture(scope="module")
def data(stubs: Stubs) -> ds.Dataset:
    """Draws of the standard normal in three dimensions."""
    return create(stubs, raw(np.random.default_rng(7).standard_normal((400, 3))), dataset_id="draws-of-normal")


def test_the_score_is_asked_for_once_a_row(stubs: Stubs, data: ds.Dataset) -> None:
    target = register(stubs, gaussian(3), "normal-with-draws")
    job = start(stubs, data.name, how(target.name))
    assert (job.denoising.score_of, job.target, job.dataset) == (target.name, "", data.name)
    watch(stubs, job.name)
    job = get_job(stubs, job.name)
    assert job.state == pb.JOB_STATE_SUCCEEDED, job.error
    assert job.denoising.score_of == target.name
    sampler = stubs.sampler.GetSampler(sp.GetSamplerRequest(name=job.sampler))
    report = sampler.denoising_report
    assert (report.target_evaluations, report.rows) == (400, 360)
    assert not any("independent draws" in warning for warning in report.warnings)
    assert (sampler.target, sampler.denoising.score_of, sampler.dataset) == ("", "", data.name)
    # The mix has no noise on a Gaussian: the untrained network, which is one, is all but right.
    assert report.loss == pytest.approx(1.0, abs=0.05)
    # What is trained needs the target no more.
    stubs.target.DeleteTarget(target_service_pb2.DeleteTargetRequest(name=target.name))
    x = next(iter(stubs.sampling.DrawSamples(sp.DrawSamplesRequest(sampler=sampler.name, count=3))))
    assert x.header.dim == 3


def test_a_job_that_is_not_finished_needs_its_target(stubs: Stubs, data: ds.Dataset) -> None:
    target = register(stubs, gaussian(3), "normal-needed-by-data")
    job = start(stubs, data.name, how(target.name, LONG))
    delete = target_service_pb2.DeleteTargetRequest(name=target.name)
    refusal = refused(lambda: stubs.target.DeleteTarget(delete))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_IN_USE")
    assert job.name in refusal.message
    stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job.name))
    wait_for(lambda: get_job(stubs, job.name).state == pb.JOB_STATE_CANCELLED, what="the end of the job")
    stubs.target.DeleteTarget(delete)


def test_rows_on_levels_fail_the_job(stubs: Stubs, normal: target_service_pb2.Target) -> None:
    counts = np.random.default_rng(6).integers(0, 4, (200, 3)).astype(np.uint8)
    job = start(stubs, create(stubs, raw(counts), dataset_id="counts-of-normal").name, how(normal.name))
    watch(stubs, job.name)
    job = get_job(stubs, job.name)
    assert (job.state, job.error.code) == (pb.JOB_STATE_FAILED, code_pb2.FAILED_PRECONDITION)
    assert "data on levels have no density" in job.error.message


def test_what_does_not_go_together_is_refused_at_once(
    stubs: Stubs, data: ds.Dataset, normal: target_service_pb2.Target
) -> None:
    other = register(stubs, gaussian(2), "normal-of-two")
    cases: list[tuple[pb.DenoisingConfig, str, str]] = [
        (how("nothing"), "FIELD_INVALID", "expected"),
        (how(other.name), "INCONSISTENT_SETTINGS", "of dimension 3, the number of columns; targets/normal-of-two has"),
        (how(normal.name, head=denoising_pb2.HEAD_LEVELS), "INCONSISTENT_SETTINGS", "levels have no density"),
    ]
    for config, reason, tells in cases:
        refusal = refused(lambda config=config: start(stubs, data.name, config))  # type: ignore[misc]
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert refusal.fields == ("denoising.score_of",)
        assert tells in refusal.message
    missing = refused(lambda: start(stubs, data.name, how("targets/nothing")))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "TARGET_NOT_FOUND")
    assert missing.resource == "targets/nothing"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with a data set of two columns and a target that is being checked."""
    store = Store(tmp_path / "db")
    store.write_now(datasets.add, TENANT, DATASET)
    store.write_now(targets.add, TENANT, TargetRecord("t-one", "uid-t", TargetState.CHECKING, "d1", 2, "somewhere", 1))
    yield store
    store.close()


def test_a_target_must_be_ready(store: Store) -> None:
    request = pb.CreateTrainingJobRequest(dataset="datasets/people", denoising=how("targets/t-one"))

    def refusal() -> ServiceError:
        with pytest.raises(FailedPrecondition) as caught:
            store.write_now(_create, request, 10)
        return caught.value

    assert refusal().reason == "TARGET_NOT_READY"
    store.write_now(targets.set_rejected, TENANT, "uid-t", Failure(code_pb2.INVALID_ARGUMENT, "SOME", "it is wrong"))
    assert "it is wrong" in refusal().message


def test_a_job_keeps_the_content_it_was_made_with(store: Store) -> None:
    store.write_now(targets.set_ready, TENANT, "uid-t", 2, None, ())
    request = pb.CreateTrainingJobRequest(dataset="datasets/people", denoising=how("targets/t-one"))
    job = store.write_now(_create, request, 10)
    assert (job.target, job.target_digest, job.dataset) == ("t-one", "d1", "people")
    plain = store.write_now(_create, pb.CreateTrainingJobRequest(dataset="datasets/people", denoising=QUICK), 11)
    assert (plain.target, plain.target_digest) == ("", "")
