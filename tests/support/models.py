"""Models of data on a server, trained for a moment."""

from typing import Any

import numpy as np

from gephyra.protos import sampler_service_pb2 as sp
from gephyra.protos import training_service_pb2 as pb
from tests.support.server import Stubs, get_job, watch
from tests.support.tables import create, raw

QUICK = pb.DenoisingConfig(iterations=40, width=16, blocks=1, batch_size=64, solver_steps=4)


def model(stubs: Stubs, rows: np.ndarray, dataset_id: str, **columns: Any) -> sp.Sampler:
    """Of rows that become a data set of this id."""
    dataset = create(stubs, raw(rows), dataset_id=dataset_id, **columns)
    job = stubs.training.CreateTrainingJob(pb.CreateTrainingJobRequest(dataset=dataset.name, denoising=QUICK))
    watch(stubs, job.name)
    job = get_job(stubs, job.name)
    assert job.state == pb.JOB_STATE_SUCCEEDED, job.error
    return stubs.sampler.GetSampler(sp.GetSamplerRequest(name=job.sampler))
