"""What a sampler says about itself: log Z, its lower bound, and how far the weights can be trusted."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from html import escape
from typing import Any

from google.protobuf.message import Message

from gephyra.protos import report_pb2

__all__ = ["Evidence", "PolishReport", "PreconditionReport", "Times", "evidence_from_message"]

_SERVED = {
    report_pb2.SERVED_BRIDGE: "bridge",
    report_pb2.SERVED_BASELINE: "baseline",
}
_SERVED_IN_WORDS = {
    "bridge": "the trained bridge",
    "baseline": "the preconditioner's law alone: training did not beat it",
}
_EUBO_SOURCES = {
    report_pb2.EUBO_SOURCE_NONE: "none",
    report_pb2.EUBO_SOURCE_EXACT: "exact",
    report_pb2.EUBO_SOURCE_POLISHED: "polished",
    report_pb2.EUBO_SOURCE_GIVEN: "given",
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
    """Which coordinates were used, and what their Gaussian or mixture, the baseline, reaches by itself.

    Numbers are None where they are not known; for `none` there are none.
    """

    name: str
    start: str
    """The start that won, for example `zero` or `laplace`."""
    elbo: float | None
    """Mean log weight of its draws."""
    log_z: float | None
    """Importance-weighted estimate of log Z from them."""
    log_z_se: float | None
    ess_fraction: float | None
    k_hat: float | None
    modes: int
    """Modes of the target that were seen; 0 where nobody looked."""
    components: int
    """Gaussians in the prior; 0 for `none`."""
    beyond: float
    """Share of Z that was found beyond the ends of the mixture, in [0, 1): what it lacks, at least."""

    def __str__(self) -> str:
        parts = [
            ("ELBO", self.elbo, ".4f"), ("log Z", self.log_z, ".4f"), ("±", self.log_z_se, ".4f"),
            ("ESS", self.ess_fraction, ".1%"), ("k-hat", self.k_hat, ".2f"), ("modes", self.modes or None, "d"),
            ("components", self.components or None, "d"),
        ]  # fmt: skip
        known = [f"{label} {value:{form}}" for label, value, form in parts if value is not None]
        return " · ".join([self.name, *known]).replace(" · ±", " ±")


@dataclass(frozen=True, slots=True)
class PolishReport:
    """What Metropolis steps on draws did: how far they moved a law that should not move."""

    draws: int
    """Draws that were polished."""
    steps: int
    """MALA steps of each; 0 for none."""
    step_size: float | None
    imh_acceptance: float | None
    """Share of independence proposals that were accepted; None without them."""
    mala_acceptance: float | None
    """Share of MALA proposals that were accepted; None without them."""
    mean_shift: float
    """Largest change of a coordinate's mean, in its standard deviations before."""
    shift_se: float
    """Standard error of a coordinate's mean shift, in the same units: what chance alone does."""
    sd_shift: float
    """Largest change of a coordinate's standard deviation, as |log(after / before)|."""


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
    """Pareto shape of the largest weights; above `k_hat_limit` they are not to be trusted."""
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
    """Mean log weight over backward paths: an upper bound of log Z in expectation, if their ends are the target's."""
    eubo_se: float | None
    eubo_source: str
    """Where those ends come from: `exact` samples, those that were `given`, the sampler's own `polished` draws, or
    `none`. Empty: not said."""
    eubo_paths: int
    """How many backward paths."""
    log_z_forward: float | None
    """-log mean exp(-log w) on the backward paths: at least log Z in expectation, from the other side."""
    log_z_forward_se: float | None
    log_z_low: float | None
    """Ends of a 95 % interval of log Z, which is asymmetric; None where there is none."""
    log_z_high: float | None
    interval_holds: bool
    """Whether the weights are tame enough for the interval and `log_z_se` to be claimed."""
    k_hat_limit: float | None
    """With a larger k-hat the weights are not to be trusted."""
    polish: PolishReport | None
    """What was done to the ends of the backward paths, if they are polished draws."""
    modes_seen: int | None
    """Modes that the preconditioner found; None where it looked for one Gaussian."""
    modes_drawn: int | None
    """Of these, those that hold at least a tenth of their share of the weighted draws."""
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
        """The numbers as (label, text), for tables; those that are not there are left out."""
        table = [
            ("log Z", f"{self.log_z:.4f} ± {self.log_z_se:.4f}"),
            ("95 % interval", self._interval()),
            ("reference log Z", _number(self.reference_log_z)),
            ("ELBO", f"{self.elbo:.4f} ± {self.elbo_se:.4f}"),
            ("EUBO", _number(self.eubo, self.eubo_se, self.eubo_source)),
            ("forward log Z", _number(self.log_z_forward, self.log_z_forward_se)),
            ("ESS", f"{100 * self.ess_fraction:.1f} %"),
            ("k-hat", f"{self.k_hat:.2f}"),
            ("modes", "" if self.modes_seen is None else f"{self.modes_drawn} of {self.modes_seen} seen are drawn"),
            ("serves", _SERVED_IN_WORDS.get(self.served, self.served)),
            ("baseline", str(self.precondition)),
            ("target evaluations", f"{self.target_evaluations:,}"),
            ("from", self.origin),
        ]
        return [(label, text) for label, text in table if text]

    def _interval(self) -> str:
        if self.log_z_low is None or self.log_z_high is None:
            return ""
        claim = "" if self.interval_holds else ", not claimed: see the warnings"
        return f"{self.log_z_low:.4f} to {self.log_z_high:.4f}{claim}"

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
    special = {"times", "precondition", "polish", "warnings", "served", "eubo_source", "stored"}
    return Evidence(
        **_values(report, Evidence, special),
        times=Times(**_values(report.times, Times)),
        precondition=PreconditionReport(**_values(report.precondition, PreconditionReport)),
        polish=PolishReport(**_values(report.polish, PolishReport)) if report.HasField("polish") else None,
        warnings=tuple(report.warnings),
        # A later server may know more words than we do.
        served=_SERVED.get(report.served, ""),
        eubo_source=_EUBO_SOURCES.get(report.eubo_source, ""),
        stored=stored,
    )


def _values(message: Message, kind: type, without: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a record, from a message that has them under the same names; None for one that is absent."""
    optional = {field.name for field in message.DESCRIPTOR.fields if field.has_presence}
    names = [field.name for field in fields(kind) if field.name not in without]
    return {name: None if name in optional and not message.HasField(name) else getattr(message, name) for name in names}


# What a bound rests on, where nobody can check it here.
_IF = {"given": ", a bound if they are the target's and miss none of its modes"}


def _number(value: float | None, error: float | None = None, source: str = "") -> str:
    if value is None:
        return ""
    return (
        f"{value:.4f}"
        + ("" if error is None else f" ± {error:.4f}")
        + (f", from {source} draws" if source else "")
        + _IF.get(source, "")
    )
