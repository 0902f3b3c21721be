"""Draws of a target sent along with a training job: used, told, reported, kept while they are needed, and refused."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from gephyra.protos import dataset_service_pb2 as ds
from gephyra.protos import report_pb2, sampler_service_pb2, target_service_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.settings import TrainingSettings
from gephyra.service.config import TENANT
from gephyra.service.store import datasets, jobs, targets
from gephyra.service.store.database import Store
from gephyra.service.store.records import DatasetRecord, JobState, TargetRecord, TargetState
from gephyra.service.training_service import _create
from tests.support.refusal import refused
from tests.support.server import TINY, Stubs, create_job, gaussian, get_job, register, train, watch
from tests.support.tables import create, raw


def table(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns))


def with_samples(name: str) -> pb.TrainingConfig:
    config = pb.TrainingConfig()
    config.CopyFrom(TINY)
    config.samples = name
    return config


def _catalogue(family: str) -> target_service_pb2.TargetDefinition:
    return target_service_pb2.TargetDefinition(catalogue=target_service_pb2.CatalogueTarget(family=family))


@pytest.mark.slow
def test_samples_go_to_the_worker_and_their_eubo_comes_back(stubs: Stubs) -> None:
    """A posterior that cannot draw, so that the report takes what was given."""
    schools = register(stubs, _catalogue("eight-schools-non-centred"), "schools-warm")
    given = create(stubs, raw(table(400, schools.dim)), dataset_id="draws-of-schools")
    job = create_job(stubs, schools.name, with_samples(given.name))
    assert (job.target, job.dataset, job.config.samples) == (schools.name, "", given.name)
    watch(stubs, job.name)
    job = get_job(stubs, job.name)
    assert job.state == pb.JOB_STATE_SUCCEEDED, job.error
    assert job.config.samples == given.name
    sampler = stubs.sampler.GetSampler(sampler_service_pb2.GetSamplerRequest(name=job.sampler))
    assert sampler.report.eubo_source == report_pb2.EUBO_SOURCE_GIVEN
    assert sampler.report.eubo_paths == 200
    assert (sampler.target, sampler.dataset, sampler.config.samples) == (schools.name, "", "")
    cold = train(stubs, schools.name)
    assert cold.report.elbo != sampler.report.elbo
    # A finished sampler needs its draws no more.
    stubs.dataset.DeleteDataset(ds.DeleteDatasetRequest(name=given.name))


@pytest.mark.slow
def test_samples_that_are_not_there_or_do_not_fit_are_refused(stubs: Stubs) -> None:
    normal = register(stubs, gaussian(3), "normal-warm")
    narrow = create(stubs, raw(table(50, 2, seed=1)), dataset_id="too-narrow-draws")
    refusal = refused(lambda: create_job(stubs, normal.name, with_samples(narrow.name)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INCONSISTENT_SETTINGS")
    assert refusal.fields == ("config.samples",)
    assert "3 columns" in refusal.message
    missing = refused(lambda: create_job(stubs, normal.name, with_samples("datasets/no-such-draws")))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "DATASET_NOT_FOUND")
    malformed = refused(lambda: create_job(stubs, normal.name, with_samples("no-such-draws")))
    assert malformed.fields == ("config.samples",)
    few = create(stubs, raw(np.repeat(table(5, 3, seed=2), 10, 0)), dataset_id="five-draws")
    job = create_job(stubs, normal.name, with_samples(few.name))
    watch(stubs, job.name)
    job = get_job(stubs, job.name)
    assert job.state == pb.JOB_STATE_FAILED
    assert "16 distinct rows or more, got 5" in job.error.message


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with a target and draws of it."""
    store = Store(tmp_path / "db")
    store.write_now(targets.add, TENANT, TargetRecord("t-one", "uid-t", TargetState.CHECKING, "d1", 3, "somewhere", 1))
    store.write_now(targets.set_ready, TENANT, "uid-t", 3, None, ())
    record = DatasetRecord("draws-one", "uid-d", "draws", "origin", "c1", "d2", 50, 3, "float32", False, 1, ())
    store.write_now(datasets.add, TENANT, record)
    yield store
    store.close()


def test_draws_are_kept_while_a_job_needs_them(store: Store) -> None:
    request = pb.CreateTrainingJobRequest(
        target="targets/t-one",
        request_id=str(uuid.uuid4()),
        config=pb.TrainingConfig(iterations=1, samples="datasets/draws-one"),
    )
    job = store.write_now(_create, request, 10)
    assert (job.target, job.target_digest, job.dataset, job.dataset_digest) == ("t-one", "d1", "draws-one", "d2")
    assert isinstance(job.settings, TrainingSettings)
    assert store.write_now(jobs.find, TENANT, job.name) == job
    assert store.write_now(datasets.users, TENANT, "draws-one") == [f"trainingJobs/{job.name}"]
    moved = store.write_now(
        jobs.advance, TENANT, job.name, 0, (JobState.QUEUED,), JobState.CANCELLED, b"", {"end_time": 11}
    )
    assert moved
    assert store.write_now(datasets.users, TENANT, "draws-one") == []
