"""The asyncio client. The synchronous one in `gephyra.clients.sync` has the same names."""

from .client import AsyncClient
from .dataset import AsyncDataset
from .job import AsyncJob
from .sampler import AsyncSamplerHandle
from .target import AsyncTargetHandle

__all__ = ["AsyncClient", "AsyncDataset", "AsyncJob", "AsyncSamplerHandle", "AsyncTargetHandle"]
