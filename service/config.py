"""What an operator may choose, and the limits that the server keeps. Frozen: nothing changes after start-up."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

__all__ = ["DATABASE_URL", "TENANT", "ExecutorName", "Limits", "ServerConfig", "Timings"]

# Rows are keyed by tenant from the first day; there is one tenant until there are identities.
TENANT = "local"

DATABASE_URL = "GEPHYRA_DATABASE_URL"
"""The environment variable that stands for `--database-url`: arguments are for all to see, and it has a password."""


class ExecutorName(StrEnum):
    """Where workers run."""

    LOCAL = "local"
    """Beside the server."""
    RAY = "ray"
    """On the machines of a Ray cluster."""


_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one request may ask for; all of them are told by GetServerInfo."""

    max_message_bytes: int = 4 * _MIB
    """Largest gRPC message accepted, in bytes: gRPC's own default, kept."""
    max_blob_bytes: int = 256 * _MIB
    """Largest uploaded blob, in bytes."""
    max_dataset_bytes: int = 256 * _MIB
    """Most bytes of the values of one data set."""
    max_program_nodes: int = 50_000
    """Most nodes in one captured aten graph."""
    max_draws: int = 10_000_000
    """Most draws in one DrawSamples call."""
    max_chunk_bytes: int = 256 * _KIB
    """Largest chunk of draws in bytes, all tensors together (one draw larger than that goes alone)."""
    max_check_points: int = 4096
    """Most points in one CheckTarget call."""
    max_evaluate_points: int = 4096
    """Most points in one EvaluateTarget call."""
    max_evidence_paths: int = 1_000_000
    """Most fresh paths in one EstimateEvidence call."""
    max_dim: int = 10_000
    """Largest dimension of a target, and most columns of a data set."""
    max_draw_bytes: int = 3 * _MIB
    """Most bytes that one draw with all its sites may take, so that it fits a message."""
    max_import_bytes: int = 512 * _MIB
    """Largest sampler file accepted by ImportSampler, in bytes."""
    page_size: int = 50
    """Items a page where the request leaves it to the server."""
    max_page_size: int = 1000
    """Most items a page; larger wishes are lowered to it."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Time limits and periods, in seconds."""

    cancel_message: float = 5.0
    """From the request to stop a job to SIGTERM."""
    cancel_terminate: float = 3.0
    """From SIGTERM to SIGKILL of the worker's process group."""
    drain: float = 20.0
    """For all workers together to reach a checkpoint when the server stops."""
    shutdown_grace: float = 2.0
    """For calls in flight to finish when the server stops."""
    heartbeat: float = 5.0
    """Between two signs of life of a training worker."""
    lease: float = 120.0
    """Silence after which a training worker is killed and its job begun again from the last checkpoint. Long, because a
    library that compiles may hold the interpreter lock."""
    check: float = 600.0
    """To load a target and replay its check points, compiling included."""
    evaluate: float = 120.0
    """For one EvaluateTarget or CheckTarget call."""
    draw: float = 300.0
    """For one turn of a stream of draws on a worker: at least one block."""
    estimate: float = 1800.0
    """For one EstimateEvidence call."""
    bookmark: float = 15.0
    """Silence after which a watcher gets a bookmark."""
    metrics: float = 0.5
    """Shortest time between two stored metrics events of a job; the newest wins."""
    idempotency: float = 7 * 24 * 3600.0
    """How long a request id is remembered."""
    blob: float = 24 * 3600.0
    """How long a blob, whole or not, waits for the request that takes it, at least."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How one server runs."""

    data: Path
    """Folder of everything that lasts: artefacts, jobs, database. Owned by one server at a time."""
    address: str
    """Where to listen: `127.0.0.1:50051`, `[::1]:0`, or `unix:/path`."""
    admin: tuple[str, int] | None = None
    """Host and port of /metrics and /healthz; port 0 takes a free one, None: nowhere."""
    database_url: str = field(default="", repr=False)
    """Of the database, if it is not a file in the data folder."""
    running_jobs: int = 1
    """Training jobs that run at the same time, at least 1."""
    draw_workers: int = 1
    """Warm processes for checking, evaluating and drawing, at least 1."""
    threads: int = 1
    """Intra-op threads of each training worker, at least 1. At the default batch and width more were slower."""
    executor: ExecutorName = ExecutorName.LOCAL
    """Where workers run."""
    ray_address: str = "auto"
    """Of the Ray cluster: `auto` for that of this machine, or host:port."""
    max_worker_restarts: int = 3
    """How often a job whose worker died is started again from its checkpoint."""
    draw_turn_bytes: int = _MIB
    """Bytes of draws made in one turn on a worker, before another caller may have it."""
    draw_cache_bytes: int = 64 * _MIB
    """Memory for draws made lately, so that asking again needs no worker; 0: none."""
    limits: Limits = field(default_factory=Limits)
    timings: Timings = field(default_factory=Timings)
