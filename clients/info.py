"""What a server says about itself."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gephyra.protos import meta_service_pb2

__all__ = ["Family", "Limits", "Operators", "ServerInfo", "info_from_message"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server takes at most."""

    max_message_bytes: int
    max_blob_bytes: int
    max_program_nodes: int
    max_draws: int
    max_chunk_bytes: int
    max_check_points: int
    max_evaluate_points: int
    max_evidence_paths: int
    max_dim: int
    max_running_jobs: int
    max_dataset_bytes: int
    max_queued_jobs: int
    """Jobs that may wait; requests for more are refused."""
    max_tenant_running_jobs: int
    """Jobs of one tenant that run at the same time; 0: as many as run."""
    cpu_slots: int
    """Processors that running jobs hold together."""
    gpu_slots: int
    """GPUs that they hold together; -1: the server does not count its GPUs."""
    max_record_calls: int
    """Calls that read or write records, at the same time; 0 from servers up to 0.3, here and below."""
    max_streams: int
    """Streams of draws and files at the same time."""
    max_work_calls: int
    """Calls that compute, at the same time."""
    max_watches: int
    """Watches at the same time."""
    keep_events: int
    """Newest events of a job that a watch can still have."""


@dataclass(frozen=True, slots=True)
class Family:
    """A family of the catalogue."""

    description: str
    parameters: tuple[str, ...]
    """What `catalogue(family, ...)` takes."""


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators that a captured program may use."""

    names: tuple[str, ...]
    digest: str
    """SHA-256 (hex) of the sorted names, one a line."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Version, limits, and the words that the server understands."""

    version: str
    limits: Limits
    methods: tuple[str, ...]
    losses: tuple[str, ...]
    preconditions: tuple[str, ...]
    integrators: tuple[str, ...]
    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    catalogue: Mapping[str, Family]
    program_formats: tuple[str, ...]
    aten: Operators
    stablehlo: Operators

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return asdict(self)


def info_from_message(message: meta_service_pb2.GetServerInfoResponse) -> ServerInfo:
    """The record of the wire message."""
    return ServerInfo(
        version=message.version,
        limits=Limits(**{field.name: getattr(message.limits, field.name) for field in fields(Limits)}),
        methods=tuple(message.methods),
        losses=tuple(message.losses),
        preconditions=tuple(message.preconditions),
        integrators=tuple(message.integrators),
        devices=tuple(message.devices),
        precisions=tuple(message.precisions),
        catalogue={entry.family: Family(entry.description, tuple(entry.parameters)) for entry in message.catalogue},
        program_formats=tuple(message.program_formats),
        aten=Operators(tuple(message.aten.operators), message.aten.digest),
        stablehlo=Operators(tuple(message.stablehlo.operators), message.stablehlo.digest),
    )
