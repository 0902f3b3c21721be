"""Wire <-> domain records. Nothing else builds or takes apart resources and events."""

from dataclasses import asdict
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gephyra.protos import dataset_service_pb2, program_pb2, sampler_service_pb2, target_service_pb2
from gephyra.protos import training_service_pb2 as training_pb2
from gephyra.samplers.denoising.report import DenoisingMetrics, DenoisingReport
from gephyra.samplers.denoising.settings import DenoisingSettings
from gephyra.samplers.report import Metrics
from gephyra.targets.program import Site

from . import names
from .denoising import from_denoising_metrics, to_denoising, to_denoising_metrics, to_denoising_report
from .errors import failure_status
from .reports import to_report
from .settings import to_config
from .store.records import (
    AnyMetrics,
    AnySettings,
    DatasetRecord,
    JobRecord,
    JobState,
    SamplerRecord,
    StoredEvent,
    TargetRecord,
    TargetState,
)  # fmt: skip
from .tensors import array_bytes, dtype_name, dtype_number

__all__ = [
    "checkpoint_event", "from_metrics", "from_site", "job_state_event", "log_event", "metrics_event", "to_dataset",
    "to_event", "to_job", "to_metrics", "to_sampler", "to_site", "to_target",
]  # fmt: skip

_TARGET_STATES = {
    TargetState.CHECKING: target_service_pb2.Target.STATE_CHECKING,
    TargetState.READY: target_service_pb2.Target.STATE_READY,
    TargetState.REJECTED: target_service_pb2.Target.STATE_REJECTED,
}
_JOB_STATES = {
    JobState.QUEUED: training_pb2.JOB_STATE_QUEUED, JobState.PENDING: training_pb2.JOB_STATE_PENDING,
    JobState.RUNNING: training_pb2.JOB_STATE_RUNNING, JobState.PAUSED: training_pb2.JOB_STATE_PAUSED,
    JobState.CANCELLING: training_pb2.JOB_STATE_CANCELLING, JobState.CANCELLED: training_pb2.JOB_STATE_CANCELLED,
    JobState.SUCCEEDED: training_pb2.JOB_STATE_SUCCEEDED, JobState.FAILED: training_pb2.JOB_STATE_FAILED,
}  # fmt: skip
_MAX_LOG_CHARS = 4096


def to_target(record: TargetRecord) -> target_service_pb2.Target:
    """The resource of a target."""
    target = target_service_pb2.Target(
        name=f"{names.TARGETS}/{record.name}", uid=record.uid, state=_TARGET_STATES[record.state], dim=record.dim,
        sites=[to_site(site) for site in record.sites], digest=record.digest,
        create_time=_time(record.create_time), source=record.source,
    )  # fmt: skip
    if record.log_z is not None:
        target.log_z = record.log_z
    if record.error is not None:
        target.error.CopyFrom(failure_status(record.error))
    return target


def to_job(record: JobRecord) -> training_pb2.TrainingJob:
    """The resource of a training job."""
    job = training_pb2.TrainingJob(
        name=f"{names.JOBS}/{record.name}", uid=record.uid, state=_JOB_STATES[record.state], attempt=record.attempt,
        create_time=_time(record.create_time), pause_requested=record.pausing,
        retry_of=f"{names.JOBS}/{record.retry_of}" if record.retry_of else "",
        **_subject(record.target, record.dataset, record.settings),
    )  # fmt: skip
    if record.error is not None:
        job.error.CopyFrom(failure_status(record.error))
    _add_helps(job, record)
    if record.sampler:
        job.sampler = f"{names.SAMPLERS}/{record.sampler}"
    if record.metrics is not None:
        job.metrics.CopyFrom(to_metrics(record.metrics))
    if record.start_time is not None:
        job.start_time.CopyFrom(_time(record.start_time))
    if record.end_time is not None:
        job.end_time.CopyFrom(_time(record.end_time))
    return job


def _add_helps(job: training_pb2.TrainingJob, record: JobRecord) -> None:
    """What training begins with or uses beside its subject."""
    if record.start:
        job.config.start = f"{names.SAMPLERS}/{record.start}"
    if record.target and record.dataset:
        # A model of data may use a target's score, a bridge draws of its target.
        if isinstance(record.settings, DenoisingSettings):
            job.denoising.score_of = f"{names.TARGETS}/{record.target}"
        else:
            job.config.samples = f"{names.DATASETS}/{record.dataset}"


def to_sampler(record: SamplerRecord) -> sampler_service_pb2.Sampler:
    """The resource of a sampler."""
    sampler = sampler_service_pb2.Sampler(
        name=f"{names.SAMPLERS}/{record.name}", uid=record.uid,
        training_job=f"{names.JOBS}/{record.job}" if record.job else "", dim=record.dim,
        sites=[to_site(site) for site in record.sites], digest=record.digest, create_time=_time(record.create_time),
        **_subject(record.target, record.dataset, record.settings),
    )  # fmt: skip
    if isinstance(record.report, DenoisingReport):
        sampler.denoising_report.CopyFrom(to_denoising_report(record.report))
    else:
        sampler.report.CopyFrom(to_report(record.report))
    return sampler


def to_dataset(record: DatasetRecord) -> dataset_service_pb2.Dataset:
    """The resource of a data set."""
    columns = [dataset_service_pb2.DatasetColumn(**asdict(column)) for column in record.facts]
    return dataset_service_pb2.Dataset(
        name=f"{names.DATASETS}/{record.name}", uid=record.uid, display_name=record.display_name, rows=record.rows,
        columns=record.columns, dtype=dtype_number(record.dtype), digest=record.digest, content_sha256=record.content,
        size_bytes=record.size_bytes, create_time=_time(record.create_time), on_levels=record.on_levels,
        column_facts=columns,
    )  # fmt: skip


def to_site(site: Site) -> program_pb2.Site:
    """The wire form of a site."""
    return program_pb2.Site(
        name=site.name, shape=site.shape, dtype=dtype_number(site.dtype), deterministic=site.deterministic
    )


def from_site(site: program_pb2.Site, field: str) -> Site:
    """The record of a site. Raises ValueError naming the field."""
    array_bytes(site.dtype, site.shape, field)
    return Site(site.name, tuple(site.shape), dtype_name(site.dtype, f"{field}.dtype"), site.deterministic)


def to_metrics(metrics: AnyMetrics) -> training_pb2.TrainingMetrics:
    """The wire form of metrics."""
    if isinstance(metrics, DenoisingMetrics):
        return to_denoising_metrics(metrics)
    return training_pb2.TrainingMetrics(
        stage=metrics.stage, step=metrics.step, seconds=metrics.seconds, fraction=metrics.fraction, loss=metrics.loss,
        elbo=metrics.elbo, log_z=metrics.log_z, ess_fraction=metrics.ess_fraction,
        steps_per_second=metrics.steps_per_second, target_evaluations=metrics.target_evaluations,
        non_finite_paths=metrics.non_finite_paths,
    )  # fmt: skip


def from_metrics(metrics: training_pb2.TrainingMetrics) -> AnyMetrics:
    """The record of metrics; only a model of data tells of rows held out."""
    if metrics.HasField("validation"):
        return from_denoising_metrics(metrics)
    return Metrics(
        stage=metrics.stage[:64], step=metrics.step, seconds=metrics.seconds, fraction=metrics.fraction,
        loss=metrics.loss, elbo=metrics.elbo, log_z=metrics.log_z, ess_fraction=metrics.ess_fraction,
        steps_per_second=metrics.steps_per_second, target_evaluations=metrics.target_evaluations,
        non_finite_paths=metrics.non_finite_paths,
    )  # fmt: skip


def to_event(event: StoredEvent) -> training_pb2.TrainingEvent:
    """A stored event with its sequence number."""
    message = training_pb2.TrainingEvent.FromString(event.content)
    message.sequence = event.sequence
    return message


def job_state_event(state: JobState, attempt: int, now: int) -> bytes:
    """The content of an event: the job's state is now this."""
    return training_pb2.TrainingEvent(attempt=attempt, time=_time(now), state=_JOB_STATES[state]).SerializeToString()


def metrics_event(metrics: AnyMetrics, attempt: int, now: int) -> bytes:
    """The content of an event: metrics of a step."""
    return training_pb2.TrainingEvent(attempt=attempt, time=_time(now), metrics=to_metrics(metrics)).SerializeToString()


def checkpoint_event(checkpoint: training_pb2.CheckpointSaved, attempt: int, now: int) -> bytes:
    """The content of an event: a checkpoint was written."""
    return training_pb2.TrainingEvent(attempt=attempt, time=_time(now), checkpoint=checkpoint).SerializeToString()


def log_event(text: str, attempt: int, now: int) -> bytes:
    """The content of an event: a line for people, cut to its last 4096 characters."""
    return training_pb2.TrainingEvent(attempt=attempt, time=_time(now), log=text[-_MAX_LOG_CHARS:]).SerializeToString()


def _subject(target: str, dataset: str, settings: AnySettings) -> dict[str, Any]:
    """The fields of a job or a sampler that say what it is about, and how."""
    if isinstance(settings, DenoisingSettings):
        name = f"{names.DATASETS}/{dataset}" if dataset else ""
        return {"dataset": name, "denoising": to_denoising(settings)}
    return {"target": f"{names.TARGETS}/{target}", "config": to_config(settings)}


def _time(microseconds: int) -> Timestamp:
    time = Timestamp()
    time.FromMicroseconds(microseconds)
    return time
