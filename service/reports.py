"""EvidenceReport on the wire <-> Report in the code, total both ways."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from google.protobuf.message import Message

from gephyra.protos import report_pb2
from gephyra.samplers.report import EuboSource, PolishReport, PreconditionReport, Report, Served, Times

__all__ = ["from_report", "to_report"]

_SERVED: Mapping[Served, Any] = {
    Served.BRIDGE: report_pb2.SERVED_BRIDGE,
    Served.BASELINE: report_pb2.SERVED_BASELINE,
}
_EUBO_SOURCES: Mapping[EuboSource, Any] = {
    EuboSource.NONE: report_pb2.EUBO_SOURCE_NONE,
    EuboSource.EXACT: report_pb2.EUBO_SOURCE_EXACT,
    EuboSource.POLISHED: report_pb2.EUBO_SOURCE_POLISHED,
    EuboSource.GIVEN: report_pb2.EUBO_SOURCE_GIVEN,
}
_WORDS = ("served", "eubo_source")
_PARTS = ("times", "precondition", "polish", "warnings")


def to_report(report: Report) -> report_pb2.EvidenceReport:
    """The wire form of a report."""
    return report_pb2.EvidenceReport(
        **_values(report, _numbers()),
        served=_SERVED[report.served],
        eubo_source=_EUBO_SOURCES[report.eubo_source],
        times=report_pb2.TrainingTimes(**_values(report.times, _names(Times))),
        precondition=report_pb2.PreconditionReport(**_values(report.precondition, _names(PreconditionReport))),
        polish=None
        if report.polish is None
        else report_pb2.PolishReport(**_values(report.polish, _names(PolishReport))),
        warnings=report.warnings,
    )


def from_report(report: report_pb2.EvidenceReport) -> Report:
    """The record of a report. Raises StopIteration for a word that is not one of ours."""
    return Report(
        **_present(report, _numbers()),
        served=next(word for word, number in _SERVED.items() if number == report.served),
        eubo_source=next(word for word, number in _EUBO_SOURCES.items() if number == report.eubo_source),
        times=Times(**_present(report.times, _names(Times))),
        precondition=PreconditionReport(**_present(report.precondition, _names(PreconditionReport))),
        polish=PolishReport(**_present(report.polish, _names(PolishReport))) if report.HasField("polish") else None,
        warnings=tuple(report.warnings),
    )


def _names(kind: Any) -> tuple[str, ...]:
    """The fields of a record; those of its message have the same names."""
    return tuple(field.name for field in fields(kind))


def _numbers() -> tuple[str, ...]:
    return tuple(name for name in _names(Report) if name not in (*_WORDS, *_PARTS))


def _values(record: object, names: Iterable[str]) -> dict[str, Any]:
    """Fields of a record; None leaves a field of the message unset."""
    return {name: getattr(record, name) for name in names}


def _present(message: Message, names: Iterable[str]) -> dict[str, Any]:
    """Fields of a message; None for one that may be absent and is."""
    optional = {field.name for field in message.DESCRIPTOR.fields if field.has_presence}
    return {name: None if name in optional and not message.HasField(name) else getattr(message, name) for name in names}
