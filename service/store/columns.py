"""Domain values in columns: JSON forms and their inverses. A new field needs a new schema version."""

from dataclasses import asdict
from typing import Any

from gephyra.samplers.denoising.report import DenoisingMetrics, DenoisingReport, LevelBin
from gephyra.samplers.denoising.settings import DenoisingSettings
from gephyra.samplers.report import Metrics, Report
from gephyra.samplers.settings import TrainingSettings
from gephyra.targets.program import Site

from ..errors import Failure
from .records import AnyMetrics, AnyReport, AnySettings, ColumnFacts

__all__ = [
    "dump_facts", "dump_failure", "dump_metrics", "dump_sites", "load_facts", "load_failure", "load_metrics",
    "load_report", "load_settings", "load_sites",
]  # fmt: skip


def dump_sites(sites: tuple[Site, ...]) -> list[dict[str, Any]]:
    """Sites as JSON values."""
    return [asdict(site) for site in sites]


def load_sites(record: list[dict[str, Any]]) -> tuple[Site, ...]:
    """Inverse of `dump_sites`."""
    return tuple(Site(**{**site, "shape": tuple(site["shape"])}) for site in record)


def dump_facts(facts: tuple[ColumnFacts, ...]) -> list[dict[str, Any]]:
    """Facts of columns as JSON values."""
    return [asdict(column) for column in facts]


def load_facts(record: list[dict[str, Any]]) -> tuple[ColumnFacts, ...]:
    """Inverse of `dump_facts`."""
    return tuple(ColumnFacts(**column) for column in record)


def dump_failure(failure: Failure | None) -> dict[str, Any] | None:
    """A failure as JSON values."""
    return None if failure is None else asdict(failure)


def load_failure(record: dict[str, Any] | None) -> Failure | None:
    """Inverse of `dump_failure`."""
    return None if record is None else Failure(**record)


def dump_metrics(metrics: AnyMetrics | None) -> dict[str, Any] | None:
    """Metrics as JSON values."""
    return None if metrics is None else asdict(metrics)


def load_metrics(record: dict[str, Any] | None) -> AnyMetrics | None:
    """Inverse of `dump_metrics`."""
    if record is None:
        return None
    if "bins" in record:
        return DenoisingMetrics(**{**record, "bins": tuple(LevelBin(**each) for each in record["bins"])})
    return Metrics(**record)


def load_settings(record: dict[str, Any]) -> AnySettings:
    """Inverse of `to_json` of settings; only those of a bridge have a method."""
    return TrainingSettings.from_json(record) if "method" in record else DenoisingSettings.from_json(record)


def load_report(record: dict[str, Any], settings: AnySettings) -> AnyReport:
    """Inverse of `to_json` of the report of what these settings trained."""
    model = isinstance(settings, DenoisingSettings)
    return DenoisingReport.from_json(record) if model else Report.from_json(record)
