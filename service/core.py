"""What every part of the server shares."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .artefacts import Artefacts
from .bus import Bus
from .config import ServerConfig
from .draw_cache import DrawCache
from .errors import stopping
from .executor import Executor, LocalExecutor
from .metrics import Metrics
from .pool import Pool
from .sending import Lanes
from .store.database import Store
from .tracing import NoTracing, Tracing
from .uploads import Uploads

__all__ = ["Core", "request_digest"]


class _Message(Protocol):
    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...


@dataclass(slots=True)
class Core:
    """The parts of one running server."""

    config: ServerConfig
    store: Store
    artefacts: Artefacts
    """Definitions of targets with their arrays, samplers."""
    uploads: Uploads
    datasets: Artefacts
    """Contents of data sets, apart from the others, so that deleting one takes nothing that a target needs."""
    pool: Pool
    bus: Bus
    clock: Callable[[], int]
    """Microseconds since 1970."""
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(default_factory=NoTracing)
    lanes: Lanes = field(default_factory=Lanes)
    """For streams of large chunks."""
    drawn: DrawCache = field(default_factory=lambda: DrawCache(0))
    """Draws made lately."""
    executor: Executor = field(default_factory=LocalExecutor)
    """Where workers run."""
    assembling: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while places are taken for the workers of one job."""
    owner: str = field(default_factory=lambda: secrets.token_hex(8))
    """Of this run of the server: what it claims is nobody else's."""
    dead: Callable[[], Collection[str]] = frozenset
    """Names of servers whose death was seen; blocking. Of others the leases will run out."""
    stopping: bool = False
    """True once the server drains: nothing new is begun."""

    def refuse_if_stopping(self) -> None:
        """Raises Unavailable (SERVER_STOPPING) while the server drains."""
        if self.stopping:
            raise stopping()

    def lease_end(self) -> int:
        """Until when an attempt may go on that is claimed or renewed now, by this server's clock."""
        return self.clock() + int(self.config.timings.lease * 1e6)

    def job_folder(self, name: str) -> Path:
        """Where a job keeps its checkpoints and logs."""
        return self.jobs_folder / name

    @property
    def jobs_folder(self) -> Path:
        """Where those of all jobs are."""
        return self.config.data / "jobs"


def request_digest(request: _Message) -> str:
    """SHA-256 of a request, for telling a repeated one from another."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
