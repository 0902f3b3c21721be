"""Models of data in the store: they come back as they went in, and need their data set."""

from dataclasses import replace

import pytest

from gephyra.samplers.denoising.report import DenoisingMetrics, DenoisingReport, LevelBin, Likelihood
from gephyra.samplers.denoising.settings import DenoisingSettings, PredictionName, WeightingName
from gephyra.samplers.settings import Budget
from gephyra.service import jobs
from gephyra.service.config import TENANT
from gephyra.service.errors import FailedPrecondition, Reason
from gephyra.service.registration import refuse_if_needed
from gephyra.service.store import datasets, samplers
from gephyra.service.store import jobs as job_store
from gephyra.service.store.database import Store
from gephyra.service.store.records import ColumnFacts, DatasetRecord, JobRecord, JobState, SamplerRecord
from gephyra.targets.program import Site

SETTINGS = DenoisingSettings(
    PredictionName.NOISE, WeightingName.P2, time_steps=7, high=3.0, budget=Budget(iterations=9), seed=2**64 - 1,
    image=(1, 1, 2), ema=0.5,
)  # fmt: skip
REPORT = DenoisingReport(9, 2, False, 9, 4, 0.5, Likelihood(1.0, 0.5, 0.25, 3), None, 1.5, 9, ("short",))
METRICS = DenoisingMetrics("train", 3, 1.5, 0.5, 0.75, 0.5, 10.0, (LevelBin(-1.0, 1.0, 0.5),))
FACTS = tuple(ColumnFacts(name, 0.0, 1.0, 9, False, False, False) for name in ("a", "b"))
DATASET = DatasetRecord("people", "uid", "people.csv", "o", "c", "d", 9, 2, "float32", False, 1, FACTS)
JOB = JobRecord("job-one", "uid", "", "", SETTINGS, JobState.QUEUED, 5, dataset="people", dataset_digest="d")
SAMPLER = SamplerRecord(
    "sampler-one", "uid", "", "", "job-one", SETTINGS, REPORT, 2, (Site("a", (), "float32"), Site("b", (), "float32")),
    "f", 9, "people", "d",
)  # fmt: skip


@pytest.fixture
def store(store: Store) -> Store:
    """With a data set."""
    store.write_now(datasets.add, TENANT, DATASET)
    return store


def test_models_come_back_as_they_went_in(store: Store) -> None:
    made = store.write_now(jobs.create, JOB, "", "sha")
    assert made == replace(JOB, last_sequence=1)
    store.write_now(job_store.record, TENANT, JOB.name, 0, b"event", METRICS)
    assert store.read_now(jobs.find, JOB.name) == replace(JOB, last_sequence=2, metrics=METRICS)
    store.write_now(samplers.add, TENANT, SAMPLER)
    assert store.read_now(samplers.find, TENANT, SAMPLER.name) == SAMPLER


def test_a_finished_job_leaves_a_model_of_its_columns(store: Store) -> None:
    store.write_now(jobs.create, JOB, "", "sha")
    claimed = store.write_now(jobs.claim, 6)
    assert claimed is not None
    assert store.write_now(jobs.move, claimed, (JobState.PENDING,), JobState.RUNNING, 7)
    assert store.write_now(jobs.succeed, claimed, SAMPLER.name, "uid", "f", REPORT, 9)
    assert store.read_now(samplers.find, TENANT, SAMPLER.name) == SAMPLER


def test_who_needs_a_data_set_is_named(store: Store) -> None:
    def refused() -> str:
        with pytest.raises(FailedPrecondition) as caught:
            refuse_if_needed("datasets/people", store.read_now(datasets.users, TENANT, "people"))
        assert caught.value.reason == Reason.RESOURCE_IN_USE
        return caught.value.message

    assert store.read_now(datasets.users, TENANT, "people") == []
    job = store.write_now(jobs.create, JOB, "", "sha")
    assert "trainingJobs/job-one" in refused()
    store.write_now(jobs.move, job, (JobState.QUEUED,), JobState.CANCELLED, 7)
    assert store.read_now(datasets.users, TENANT, "people") == []
    store.write_now(samplers.add, TENANT, SAMPLER)
    assert "samplers/sampler-one" in refused()
    store.write_now(samplers.remove, TENANT, SAMPLER.name)
    assert store.read_now(datasets.users, TENANT, "people") == []
