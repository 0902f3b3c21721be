"""What a sampler says about itself: log Z, its lower bound, and how far the weights can be trusted."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from html import escape
from typing import Any

from google.protobuf.message import Message

from gephyra.protos import report_pb2

__all__ = ["Evidence", "PreconditionReport", "Times", "evidence_from_message"]

_SERVED: Mapping[int, str] = {report_pb2.SERVED_BRIDGE: "bridge", report_pb2.SERVED_BASELINE: "baseline"}
_SERVED_IN_WORDS = {
    "bridge": "the trained bridge",
    "baseline": "the preconditioner's law alone: training did not beat it",
}


@dataclass(frozen=True, slots=True)
class Times:
    """Wall seconds by part."""

    precondition_seconds: float
    train_seconds: float
    evaluate_seconds: float
    startup_seconds: float
    """Imports, loading and compiling, before the first preconditioner step."""


@dataclass(frozen=True, slots=True)
class PreconditionReport:
    """Which coordinates were used, and what the preconditioner's law, the baseline, reaches by itself.

    Numbers are None where they are not known; for `none` there are none.
    """

    name: str
    start: str
    """The start that won, for example `zero` or `laplace`."""
    elbo: float | None
    """Mean log weight of draws of that law."""
    log_z: float | None
    """Importance-weighted estimate of log Z from them."""
    log_z_se: float | None
    ess_fraction: float | None
    k_hat: float | None
    modes: int | None
    """Modes that were found."""
    components: int | None
    """Components of the mixture that was kept."""

    def __str__(self) -> str:
        parts = [
            ("ELBO", self.elbo, ".4f"), ("log Z", self.log_z, ".4f"), ("±", self.log_z_se, ".4f"),
            ("ESS", self.ess_fraction, ".1%"), ("k-hat", self.k_hat, ".2f"), ("modes", self.modes, "d"),
            ("components", self.components, "d"),
        ]  # fmt: skip
        known = [f"{label} {value:{form}}" for label, value, form in parts if value is not None]
        return " · ".join([self.name, *known]).replace(" · ±", " ±")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Estimates on fresh paths; standard errors end in `_se`."""

    elbo: float
    """Mean log weight: a lower bound of log Z in expectation."""
    elbo_se: float
    log_z: float
    """Importance-weighted estimate of log Z."""
    log_z_se: float
    ess_fraction: float
    """Effective sample size of the weights over the number of paths, in (0, 1]."""
    k_hat: float
    """Pareto shape of the largest weights; above 0.7 they are not to be trusted."""
    paths: int
    """Fresh paths behind these numbers."""
    non_finite_paths: int
    """How many of them were not finite and have weight zero."""
    target_evaluations: int
    """Evaluations of the target in preconditioning, training and evaluation."""
    times: Times
    precondition: PreconditionReport
    warnings: tuple[str, ...]
    """Whatever should be known before these numbers are used, in plain words."""
    seed: int
    """Seed of the fresh noise."""
    eubo: float | None
    """Mean log weight over backward paths from exact samples: an upper bound, where such samples exist."""
    eubo_se: float | None
    reference_log_z: float | None
    """Known log Z of the target, if any."""
    served: str
    """What the draws come from: `bridge`, or `baseline`, the preconditioner's law alone, which training did not beat.
    Empty if the server does not say."""
    stored: bool
    """True for the report made once after training, False for an estimate made on request."""

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """The numbers as (label, text), for tables."""
        table = [
            ("log Z", f"{self.log_z:.4f} ± {self.log_z_se:.4f}"),
            ("ELBO", f"{self.elbo:.4f} ± {self.elbo_se:.4f}"),
            ("ESS", f"{100 * self.ess_fraction:.1f} %"),
            ("k-hat", f"{self.k_hat:.2f}"),
            ("serves", _SERVED_IN_WORDS.get(self.served, self.served)),
            ("baseline", str(self.precondition)),
            ("target evaluations", f"{self.target_evaluations:,}"),
            ("from", self.origin),
        ]
        if self.eubo is not None:
            table.insert(2, ("EUBO", f"{self.eubo:.4f} ± {self.eubo_se or math.nan:.4f}"))
        if self.reference_log_z is not None:
            table.insert(1, ("reference log Z", f"{self.reference_log_z:.4f}"))
        return table

    @property
    def origin(self) -> str:
        """Where the numbers come from, in words."""
        if self.stored:
            return f"the stored report, {self.paths:,} paths after training"
        return f"{self.paths:,} fresh paths, seed {self.seed}"

    def __str__(self) -> str:
        lines = [f"{label}: {text}" for label, text in self.rows()]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in self.rows())
        warnings = "".join(f"<p>⚠ {escape(warning)}</p>" for warning in self.warnings)
        return f"<table>{rows}</table>{warnings}"


def evidence_from_message(report: report_pb2.EvidenceReport, *, stored: bool) -> Evidence:
    """The record of a wire report."""
    special = {"times", "precondition", "warnings", "served", "stored"}
    numbers = {field.name for field in fields(Evidence)} - special
    return Evidence(
        **_values(report, numbers),
        times=Times(**_values(report.times, {field.name for field in fields(Times)})),
        precondition=PreconditionReport(
            **_values(report.precondition, {field.name for field in fields(PreconditionReport)})
        ),
        warnings=tuple(report.warnings),
        served=_SERVED.get(report.served, ""),
        stored=stored,
    )


def _values(message: Message, names: Iterable[str]) -> dict[str, Any]:
    """Fields of a message by name; None for one that may be absent and is."""
    optional = {field.name for field in message.DESCRIPTOR.fields if field.has_presence}
    return {name: getattr(message, name) if name not in optional or message.HasField(name) else None for name in names}
