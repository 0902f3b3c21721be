"""Models of data on the wire <-> in the code: settings, metrics, reports. Total both ways."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gephyra.protos import denoising_pb2, worker_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.samplers.denoising.report import DenoisingMetrics, DenoisingReport, LevelBin, Likelihood
from gephyra.samplers.denoising.settings import (
    DenoisingSettings,
    Head,
    LevelsName,
    PredictionName,
    ScheduleName,
    SolverName,
    WeightingName,
)
from gephyra.samplers.settings import Budget, Device, Precision

from .errors import Reason
from .store.records import DatasetRecord
from .tensors import dtype_number
from .words import Words, field_refused, number_of, word_of, words_of

__all__ = [
    "from_denoising", "from_denoising_metrics", "from_denoising_report", "from_solver", "to_denoising",
    "to_denoising_metrics", "to_denoising_report", "to_likelihood", "to_solver", "to_table",
]  # fmt: skip

_SOLVERS = words_of(denoising_pb2.Solver.items(), "SOLVER", SolverName, Reason.UNKNOWN_SOLVER)
_ENUMS: Mapping[str, Words] = {
    "prediction": words_of(
        denoising_pb2.Prediction.items(), "PREDICTION", PredictionName, Reason.UNKNOWN_PREDICTION
    ),
    "weighting": words_of(denoising_pb2.Weighting.items(), "WEIGHTING", WeightingName, Reason.UNKNOWN_WEIGHTING),
    "schedule": words_of(
        denoising_pb2.NoiseSchedule.items(), "NOISE_SCHEDULE", ScheduleName, Reason.UNKNOWN_SCHEDULE
    ),
    "levels": words_of(denoising_pb2.NoiseLevels.items(), "NOISE_LEVELS", LevelsName, Reason.UNKNOWN_LEVELS),
    "head": words_of(denoising_pb2.Head.items(), "HEAD", Head, Reason.UNKNOWN_HEAD),
    "solver": _SOLVERS,
    "device": words_of(pb.Device.items(), "DEVICE", Device, Reason.UNKNOWN_DEVICE),
    "precision": words_of(pb.Precision.items(), "PRECISION", Precision, Reason.UNKNOWN_PRECISION),
}  # fmt: skip
_PLAIN = (
    "time_steps", "high", "seed", "batch_size", "width", "blocks", "learning_rate", "weight_decay", "ema", "validation",
    "solver_steps",
)  # fmt: skip
_BUDGETS = ("iterations", "seconds")
_REASONS = {"prediction": Reason.INCONSISTENT_SETTINGS, **dict.fromkeys(_BUDGETS, Reason.BUDGET_OUT_OF_RANGE)}
_METRICS = ("stage", "step", "seconds", "fraction", "loss", "validation", "steps_per_second")
_LIKELIHOOD = ("nats", "standard_error", "bits_per_dim", "rows")
_REPORT = ("rows", "dim", "discrete", "steps", "best_step", "loss", "train_seconds", "target_evaluations")
_MOST_BINS = 64


def from_denoising(config: pb.DenoisingConfig) -> DenoisingSettings:
    """The settings of a request, defaults filled in. Raises InvalidArgument with the path of the wrong field."""
    given = {field.name: value for field, value in config.ListFields()}
    chosen: dict[str, Any] = {name: given[name] for name in _PLAIN if name in given}
    chosen |= {
        name: word_of(known, given[name], f"denoising.{name}") for name, known in _ENUMS.items() if name in given
    }
    if "image" in given:
        chosen["image"] = tuple(given["image"])
    try:
        if budget := {name: given[name] for name in _BUDGETS if name in given}:
            chosen["budget"] = Budget(**budget)
        return DenoisingSettings(**chosen)
    except ValueError as error:
        raise field_refused(error, "denoising", _REASONS) from None


def to_denoising(settings: DenoisingSettings) -> pb.DenoisingConfig:
    """The wire form of settings, every field filled in but those that are None."""
    values = {name: getattr(settings, name) for name in (*_PLAIN, "image")}
    values |= {name: getattr(settings.budget, name) for name in _BUDGETS}
    values |= {name: number_of(known, getattr(settings, name)) for name, known in _ENUMS.items()}
    return pb.DenoisingConfig(**{name: value for name, value in values.items() if value is not None})


def from_solver(number: int, path: str) -> SolverName | None:
    """How draws are made; None for the model's own way. Raises InvalidArgument (UNKNOWN_SOLVER)."""
    return SolverName(word_of(_SOLVERS, number, path)) if number else None


def to_solver(solver: SolverName | None) -> Any:
    """The wire form of a solver; None for none."""
    return number_of(_SOLVERS, solver)


def to_denoising_metrics(metrics: DenoisingMetrics) -> pb.TrainingMetrics:
    """The wire form of metrics."""
    bins = [denoising_pb2.LevelBin(low=each.low, high=each.high, loss=each.loss) for each in metrics.bins]
    return pb.TrainingMetrics(**{name: getattr(metrics, name) for name in _METRICS}, bins=bins)


def from_denoising_metrics(metrics: pb.TrainingMetrics) -> DenoisingMetrics:
    """The record of metrics."""
    values: dict[str, Any] = {name: getattr(metrics, name) for name in _METRICS}
    bins = tuple(LevelBin(each.low, each.high, each.loss) for each in metrics.bins[:_MOST_BINS])
    return DenoisingMetrics(**{**values, "stage": metrics.stage[:64]}, bins=bins)


def to_likelihood(likelihood: Likelihood | None) -> denoising_pb2.Likelihood | None:
    """The wire form of a likelihood; None for none."""
    if likelihood is None:
        return None
    return denoising_pb2.Likelihood(**{name: getattr(likelihood, name) for name in _LIKELIHOOD})


def to_denoising_report(report: DenoisingReport) -> denoising_pb2.DenoisingReport:
    """The wire form of a report."""
    return denoising_pb2.DenoisingReport(
        **{name: getattr(report, name) for name in _REPORT},
        validation=to_likelihood(report.validation), gaussian=to_likelihood(report.gaussian),
        warnings=report.warnings,
    )  # fmt: skip


def from_denoising_report(report: denoising_pb2.DenoisingReport) -> DenoisingReport:
    """The record of a report."""
    likelihoods: dict[str, Any] = {
        name: Likelihood(**{each: getattr(getattr(report, name), each) for each in _LIKELIHOOD})
        if report.HasField(name)
        else None
        for name in ("validation", "gaussian")
    }
    values: dict[str, Any] = {name: getattr(report, name) for name in _REPORT}
    return DenoisingReport(**values, **likelihoods, warnings=tuple(report.warnings))


def to_table(dataset: DatasetRecord, path: Path) -> worker_pb2.WorkerCommand.Table:
    """What a worker needs to read a data set whose content lies at `path`."""
    return worker_pb2.WorkerCommand.Table(
        path=str(path), rows=dataset.rows, columns=[column.name for column in dataset.facts],
        dtype=dtype_number(dataset.dtype),
    )  # fmt: skip
