"""What is known of a target and a job: shared by the asyncio and the synchronous handles."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from typing import Any

from gephyra.protos import program_pb2, target_service_pb2, training_service_pb2

from .denoising import METHOD, denoising_options
from .events import Metrics, metrics_from_message
from .words import JobState, TargetState, train_options

__all__ = ["Facts", "JobFacts", "TargetFacts", "numbers", "shapes", "summary"]


class Facts(ABC):
    """A row of facts with a representation for people."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name on the server."""

    @abstractmethod
    def rows(self) -> list[tuple[str, str]]:
        """The facts as (label, text), for tables."""

    def __repr__(self) -> str:
        facts = ", ".join(f"{label}: {text}" for label, text in self.rows() if text)
        return f"<{self.name} ({facts})>"

    def _repr_html_(self) -> str:
        cells = [("name", self.name), *self.rows()]
        rows = "".join(f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in cells)
        return f"<table>{rows}</table>"


class TargetFacts(Facts):
    """Facts of a target, as the server told them last."""

    @property
    @abstractmethod
    def message(self) -> target_service_pb2.Target:
        """The server's record."""

    @property
    def name(self) -> str:
        """`targets/{id}`."""
        return self.message.name

    @property
    def dim(self) -> int:
        """Number of unconstrained coordinates; 0 until it was checked."""
        return self.message.dim

    @property
    def sites(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each site of the model for one draw, by name."""
        return shapes(self.message.sites)

    @property
    def log_z(self) -> float | None:
        """Known log Z, of catalogue targets and trained models only."""
        return self.message.log_z if self.message.HasField("log_z") else None

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the definition."""
        return self.message.digest

    @property
    def state(self) -> TargetState:
        """CHECKING, READY or REJECTED."""
        return TargetState.of(self.message.state)

    @property
    def source(self) -> str:
        """Where it came from, in words."""
        return self.message.source

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return {
            "name": self.name,
            "state": self.state.value,
            "dim": self.dim,
            "sites": {name: list(shape) for name, shape in self.sites.items()},
            "log_z": self.log_z,
            "digest": self.digest,
            "source": self.source,
            "error": self.message.error.message,
        }

    def rows(self) -> list[tuple[str, str]]:
        """State, dimension, sites, source, and why it was rejected, if it was."""
        return [
            ("state", self.state.value),
            ("dim", str(self.dim)),
            ("sites", ", ".join(self.sites)),
            ("log Z", "" if self.log_z is None else f"{self.log_z:.6g}"),
            ("source", self.source),
            ("error", self.message.error.message),
        ]


class JobFacts(Facts):
    """Facts of a training job, as the server told them last."""

    @property
    @abstractmethod
    def message(self) -> training_service_pb2.TrainingJob:
        """The server's record."""

    @property
    def name(self) -> str:
        """`trainingJobs/{id}`."""
        return self.message.name

    @property
    def target(self) -> str:
        """Name of the target; empty where a data set is modelled."""
        return self.message.target

    @property
    def dataset(self) -> str:
        """Name of the data set that is modelled; empty where a target is sampled."""
        return self.message.dataset

    @property
    def state(self) -> JobState:
        """Where the job is in its life."""
        return JobState.of(self.message.state)

    @property
    def metrics(self) -> Metrics | None:
        """The latest metrics; None before the first."""
        return metrics_from_message(self.message.metrics) if self.message.HasField("metrics") else None

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of `client.train` that it runs with, the server's defaults filled in."""
        if self.dataset:
            return {"method": METHOD, **denoising_options(self.message.denoising)}
        return train_options(self.message.config)

    @property
    def attempt(self) -> int:
        """Attempt in progress or last made, from 1."""
        return self.message.attempt

    @property
    def create_time(self) -> datetime:
        """When it was made, UTC."""
        return self.message.create_time.ToDatetime(tzinfo=UTC)

    @property
    def pausing(self) -> bool:
        """True while a pause was asked for and the worker has not stopped yet."""
        return self.message.pause_requested

    @property
    def retry_of(self) -> str:
        """Name of the job that it repeats, which may be deleted since; empty for none."""
        return self.message.retry_of

    @property
    def sampler_name(self) -> str:
        """`samplers/{id}` once it has succeeded, else an empty string."""
        return self.message.sampler

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        metrics = self.metrics
        return {
            "name": self.name,
            "state": self.state.value,
            "target": self.target,
            "dataset": self.dataset,
            "attempt": self.attempt,
            "retry_of": self.retry_of,
            "pausing": self.pausing,
            "sampler": self.sampler_name,
            "options": dict(self.options),
            "create_time": self.create_time.isoformat(),
            "metrics": None if metrics is None else asdict(metrics),
            "error": self.message.error.message,
        }

    def rows(self) -> list[tuple[str, str]]:
        """State, target or data set, method, progress, sampler, and why it failed, if it did."""
        metrics, options = self.metrics, self.options
        words = ("method", "loss", "precondition", "prediction", "weighting", "schedule")
        return [
            ("state", self.state.value),
            ("target", self.target),
            ("data set", self.dataset),
            ("score of", options.get("score_of", "")),
            ("method", " · ".join(options[name] for name in words if name in options)),
            ("start", options.get("start", "")),
            ("retry of", self.retry_of),
            ("samples", options.get("samples", "")),
            ("progress", "" if metrics is None else summary(metrics)),
            ("sampler", self.sampler_name),
            ("error", self.message.error.message),
        ]


def summary(metrics: Metrics) -> str:
    """The metrics in one line; numbers that are not there yet are left out."""
    return f"{metrics.stage} · {numbers(metrics)}"


def numbers(metrics: Metrics) -> str:
    """As `summary`, without the stage."""
    estimates = [("ELBO", metrics.elbo, ".2f"), ("log Z", metrics.log_z, ".2f"), ("ESS", metrics.ess_fraction, ".0%")]
    known = [f"{label} {value:{form}}" for label, value, form in estimates if math.isfinite(value) and value != 0]
    if metrics.validation is not None:
        fractions = [("loss", metrics.loss), ("held out", metrics.validation)]
        known = [f"{label} {value:.3f} of a Gaussian's" for label, value in fractions if math.isfinite(value)]
    parts = [f"step {metrics.step}", *known]
    if metrics.steps_per_second > 0:
        parts.append(f"{metrics.steps_per_second:.1f}/s")
    left = metrics.seconds_left
    if left is not None:
        parts.append(f"{int(left // 60)}:{int(left % 60):02d} left")
    return " · ".join(parts)


def shapes(sites: Sequence[program_pb2.Site]) -> dict[str, tuple[int, ...]]:
    """Shape of each site for one draw, by name."""
    return {site.name: tuple(site.shape) for site in sites}
