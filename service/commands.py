"""What begins an attempt: how its workers are to run, and the command that they get."""

from collections.abc import Mapping
from pathlib import Path

from gephyra.protos import worker_pb2
from gephyra.samplers.denoising.settings import DenoisingSettings
from gephyra.samplers.settings import Device

from . import handing
from .core import Core
from .dataset_service import find_dataset
from .denoising import to_denoising, to_table
from .executor import WorkerSpec, training_environment
from .handing import content_path, target_path
from .settings import to_config
from .store.records import JobRecord
from .workspace import sampler_path

__all__ = ["training_command", "training_spec"]


def training_spec(core: Core, job: JobRecord, folder: Path, threads: int, environment: Mapping[str, str]) -> WorkerSpec:
    """How each of them is to run; the log is that of the first, in the job's folder. `environment` comes on top."""
    return WorkerSpec(
        core.artefacts.folder,
        folder / f"attempt-{job.attempt}.log",
        {**training_environment(threads), **environment},
        threads=threads,
        heartbeat=core.config.timings.heartbeat,
        cpus=threads,
        gpus=1 if job.settings.device is Device.CUDA else 0,
    )


async def training_command(core: Core, job: JobRecord, work: Path, threads: int) -> worker_pb2.WorkerCommand:
    """What a worker is to do for this job, with checkpoints and result in the folder `work`."""
    table = None
    if job.dataset:
        # It is there: nobody can delete a data set that an unfinished job needs.
        dataset = await core.store.read(find_dataset, job.dataset)
        table = to_table(dataset, await content_path(core, dataset.content))
    if isinstance(job.settings, DenoisingSettings):
        fit = worker_pb2.WorkerCommand.Fit(
            table=table,
            config=to_denoising(job.settings),
            checkpoint_folder=str(work),
            sampler_path=str(sampler_path(work)),
            target_path=await target_path(core, job.target_digest) if job.target else "",
        )
        return worker_pb2.WorkerCommand(id=1, fit=fit)
    train = worker_pb2.WorkerCommand.Train(
        target_path=await target_path(core, job.target_digest),
        config=to_config(job.settings),
        checkpoint_folder=str(work),
        sampler_path=str(sampler_path(work)),
        threads=threads,
        start_path=await handing.sampler_path(core, job.start_digest) if job.start else "",
        samples=table,
    )
    return worker_pb2.WorkerCommand(id=1, train=train)
