"""What a model of data says of itself and of other data."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from gephyra.protos import denoising_pb2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DenoisingReport", "HeldOut", "Likelihood", "likelihood_from_message", "report_from_message"]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A mean negative log likelihood over rows."""

    nats: float
    standard_error: float
    """Over rows."""
    bits_per_dim: float
    rows: int

    def __str__(self) -> str:
        return f"{self.nats:.4f} ± {self.standard_error:.4f} nats, {self.bits_per_dim:.4f} bits a dimension"


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Negative log likelihoods of data under a model, in units of the data."""

    elbo: Likelihood
    """An upper bound: of levels by probabilities, else by densities."""
    flow: Likelihood | None
    """That of the probability flow; None for levels, which have no density."""
    elbo_nats: "NDArray[np.float64]"
    """Of each row, (rows,)."""
    flow_nats: "NDArray[np.float64] | None"

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values, without those of each row."""
        return {"elbo": asdict(self.elbo), "flow": None if self.flow is None else asdict(self.flow)}

    def rows(self) -> list[tuple[str, str]]:
        """The numbers as (label, text), for tables."""
        table = [("NLL (ELBO)", str(self.elbo)), ("NLL (flow)", "" if self.flow is None else str(self.flow))]
        return [(label, text) for label, text in [*table, ("rows", str(self.elbo.rows))] if text]

    def __str__(self) -> str:
        return "\n".join(f"{label}: {text}" for label, text in self.rows())

    def __repr__(self) -> str:
        return f"HeldOut({', '.join(f'{label}: {text}' for label, text in self.rows())})"

    def _repr_html_(self) -> str:
        return "".join(_html(self.rows()))


@dataclass(frozen=True, slots=True)
class DenoisingReport:
    """A trained model of data, as measured once after training."""

    rows_trained: int
    """Rows that it was trained on."""
    dim: int
    discrete: bool
    """Whether likelihoods are probabilities of levels, not densities."""
    steps: int
    """Optimiser steps done."""
    best_step: int
    """At which the parameters that were kept were the average."""
    loss: float
    """Of these, on rows held out, as a fraction of the Gaussian's; NaN without such rows."""
    validation: Likelihood | None
    """Negative log likelihood of these rows by the ELBO; the stopping point was chosen on them."""
    gaussian: Likelihood | None
    """The same of the Gaussian with the training data's moments; None for levels."""
    train_seconds: float
    target_evaluations: int
    """Rows at which the score of a target was asked for; 0 without one."""
    warnings: tuple[str, ...]
    """Whatever should be known before the model is used, in plain words."""

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """The numbers as (label, text), for tables; those that are not there are left out."""
        table = [
            ("NLL, held out", "" if self.validation is None else str(self.validation)),
            ("of a Gaussian", "" if self.gaussian is None else str(self.gaussian)),
            ("loss", "" if self.loss != self.loss else f"{self.loss:.3f} of a Gaussian's"),
            ("is of", "probabilities of levels" if self.discrete else "densities"),
            ("steps", f"{self.steps}, kept from step {self.best_step}"),
            ("rows", f"{self.rows_trained}, trained in {self.train_seconds:.1f} s"),
            ("scores", f"of a target, at {self.target_evaluations} rows" if self.target_evaluations else ""),
        ]
        return [(label, text) for label, text in table if text]

    def __str__(self) -> str:
        lines = [f"{label}: {text}" for label, text in self.rows()]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def _repr_html_(self) -> str:
        return "".join([*_html(self.rows()), *(f"<p>⚠ {escape(warning)}</p>" for warning in self.warnings)])


def likelihood_from_message(message: denoising_pb2.Likelihood) -> Likelihood:
    """The record of a wire likelihood."""
    return Likelihood(message.nats, message.standard_error, message.bits_per_dim, message.rows)


def report_from_message(message: denoising_pb2.DenoisingReport) -> DenoisingReport:
    """The record of a wire report."""
    return DenoisingReport(
        rows_trained=message.rows, dim=message.dim, discrete=message.discrete, steps=message.steps,
        best_step=message.best_step, loss=message.loss,
        validation=likelihood_from_message(message.validation) if message.HasField("validation") else None,
        gaussian=likelihood_from_message(message.gaussian) if message.HasField("gaussian") else None,
        train_seconds=message.train_seconds, target_evaluations=message.target_evaluations,
        warnings=tuple(message.warnings),
    )  # fmt: skip


def _html(rows: list[tuple[str, str]]) -> Iterator[str]:
    yield "<table>"
    for label, text in rows:
        yield f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>"
    yield "</table>"
