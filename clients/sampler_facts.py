"""What is known of a sampler, of a target or of a data set: shared by the asyncio and the synchronous handles."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from gephyra.protos import sampler_service_pb2, target_service_pb2

from .denoising import METHOD, denoising_options
from .facts import Facts, shapes
from .likelihood import DenoisingReport, report_from_message
from .words import train_options

__all__ = ["SamplerFacts"]

# Of the report of a model of data: what is told in short.
_MEASURED = ("NLL, held out", "of a Gaussian", "loss")


class SamplerFacts(Facts):
    """Facts of a sampler; they never change."""

    @property
    @abstractmethod
    def message(self) -> sampler_service_pb2.Sampler:
        """The server's record."""

    @property
    def name(self) -> str:
        """`samplers/{id}`."""
        return self.message.name

    @property
    def target(self) -> str:
        """Name of the target it was trained on; empty for a model of a data set."""
        return self.message.target

    @property
    def dataset(self) -> str:
        """Name of the data set that it models; empty for a sampler of a target, or where the server lacks the data."""
        return self.message.dataset

    @property
    def of_data(self) -> bool:
        """Whether it is a model of a data set."""
        return self.message.HasField("denoising")

    @property
    def dim(self) -> int:
        """Number of unconstrained coordinates, or of columns."""
        return self.message.dim

    @property
    def sites(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each site of the model for one draw, by name; of a model of data, its columns."""
        return shapes(self.message.sites)

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of `client.train` with which it was trained; its job knows the sampler it started from."""
        if self.of_data:
            return {"method": METHOD, **denoising_options(self.message.denoising)}
        return train_options(self.message.config)

    @property
    def report(self) -> DenoisingReport | None:
        """What a model of data says of itself; None for a sampler of a target, which has `evidence()`."""
        return report_from_message(self.message.denoising_report) if self.of_data else None

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the stored file."""
        return self.message.digest

    def definition(self) -> target_service_pb2.TargetDefinition:
        """The density of a model of data as a target: for `client.register`, which refuses other samplers."""
        return target_service_pb2.TargetDefinition(model=target_service_pb2.TrainedModel(sampler=self.name))

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values; `evidence()` or `report` has what was measured."""
        report = self.report
        measured = (
            {"log_z": self.message.report.log_z, "log_z_se": self.message.report.log_z_se}
            if report is None
            else {"dataset": self.dataset, "report": report.to_json()}
        )
        return {
            "name": self.name,
            "target": self.target,
            "job": self.message.training_job,
            "dim": self.dim,
            "sites": {name: list(shape) for name, shape in self.sites.items()},
            "digest": self.digest,
            "options": dict(self.options),
            **measured,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Target or data set, dimension and report in short."""
        model = self.report
        if model is not None:
            likelihoods = [(label, text) for label, text in model.rows() if label in _MEASURED]
            return [("data set", self.dataset), ("dim", str(self.dim)), *likelihoods]
        report = self.message.report
        return [
            ("target", self.target),
            ("dim", str(self.dim)),
            ("log Z", f"{report.log_z:.4f} ± {report.log_z_se:.4f}"),
            ("ELBO", f"{report.elbo:.4f}"),
            ("ESS", f"{100 * report.ess_fraction:.1f} %"),
            ("k-hat", f"{report.k_hat:.2f}"),
        ]
