"""The synchronous client: the names of `gephyra.clients.aio`, without `await`."""

from .client import Client
from .dataset import Dataset
from .job import Job
from .sampler import SamplerHandle
from .target import TargetHandle

__all__ = ["Client", "Dataset", "Job", "SamplerHandle", "TargetHandle"]
