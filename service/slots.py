"""What a running job holds of the machine: processors, and perhaps a GPU. One table of what is free, one server's.

A job that waits for slots keeps those that are free already from the jobs behind it, so that many small ones cannot
starve a big one.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

from gephyra.samplers.settings import Device, TrainingSettings

from .config import ServerConfig
from .errors import FailedPrecondition, Reason
from .store.records import AnySettings

__all__ = ["ANYTHING", "Grant", "Need", "Offer", "Room", "Slots", "refuse_if_never", "slots_of", "workers_of"]

_MANY = 1 << 30
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Need:
    """What one job holds while it runs."""

    cpus: int
    """Processors, at least 1."""
    device: Device
    """CUDA: one GPU; AUTO: one if one is free; CPU: none."""


def slots_of(settings: AnySettings, config: ServerConfig) -> Need:
    """What a job with these settings holds on a server of this configuration."""
    return Need(config.threads * workers_of(settings), settings.device)


def workers_of(settings: AnySettings) -> int:
    """How many processes take part in an attempt at a job with these settings."""
    return settings.workers if isinstance(settings, TrainingSettings) else 1


@dataclass(frozen=True, slots=True)
class Room:
    """Slots that are free, none of the numbers negative."""

    jobs: int
    cpus: int
    gpus: int | None
    """None: the server does not count its GPUs, and each worker sees those that it sees."""

    @classmethod
    def of(cls, config: ServerConfig) -> Self:
        """All slots of a server."""
        return cls(config.running_jobs, config.cpu_slots, None if config.gpus is None else len(config.gpus))

    @property
    def full(self) -> bool:
        """Whether no job at all could begin."""
        return self.jobs == 0 or self.cpus == 0

    def takes(self, need: Need) -> bool:
        """Whether a job could begin now."""
        on_gpu = need.device is not Device.CUDA or self.gpus is None or self.gpus > 0
        return self.jobs > 0 and self.cpus >= need.cpus and on_gpu

    def without(self, need: Need) -> "Room":
        """What is left beside a job, also of one that does not fit: it has what there is."""
        gpus = self.gpus
        if gpus is not None and need.device is Device.CUDA:
            gpus = max(0, gpus - 1)
        return Room(max(0, self.jobs - 1), max(0, self.cpus - need.cpus), gpus)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server has for the next job."""

    free: Room
    whole: Room
    """What it has where nothing runs."""
    need: Callable[[AnySettings], Need]
    """What a job with such settings would hold."""
    most_of_a_tenant: int
    """Jobs of one tenant that may run at the same time."""


_ENDLESS = Room(_MANY, _MANY, None)
ANYTHING = Offer(_ENDLESS, _ENDLESS, lambda settings: Need(1, settings.device), _MANY)
"""Room for every job."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The slots that an attempt holds."""

    cpus: int
    gpu: str = ""
    """As CUDA calls it; empty for none."""
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """For its worker: it sees its own GPU and no other one, where the server counts them."""


class Slots:
    """Who holds what. For one event loop."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._whole = Room.of(config)
        self._held: dict[Hashable, Grant] = {}

    @property
    def free(self) -> Room:
        """What nobody holds."""
        gpus = None if self._config.gpus is None else len(self._free_gpus())
        return Room(max(0, self._whole.jobs - len(self._held)), max(0, self._whole.cpus - self.cpus_held), gpus)

    @property
    def offer(self) -> Offer:
        """What there is for the next job."""
        most = self._config.limits.max_tenant_running_jobs or _MANY
        return Offer(self.free, self._whole, lambda settings: slots_of(settings, self._config), most)

    @property
    def held(self) -> int:
        """How many attempts hold slots."""
        return len(self._held)

    @property
    def cpus_held(self) -> int:
        """Processors that they hold together."""
        return sum(grant.cpus for grant in self._held.values())

    @property
    def gpus_held(self) -> int:
        """GPUs that they hold together."""
        return sum(grant.gpu != "" for grant in self._held.values())

    def take(self, holder: Hashable, need: Need) -> Grant:
        """Give `holder`, which holds nothing yet, what it needs. What is free was looked at before."""
        gpu, free = "", self._free_gpus()
        if need.device is not Device.CPU and free:
            gpu = free[0]
        counted = self._config.gpus is not None
        grant = Grant(need.cpus, gpu, MappingProxyType({_VISIBLE: gpu} if counted else {}))
        self._held[holder] = grant
        return grant

    def release(self, holder: Hashable) -> None:
        """What it held is free again; nothing if it holds nothing."""
        self._held.pop(holder, None)

    def _free_gpus(self) -> list[str]:
        taken = {grant.gpu for grant in self._held.values()}
        return [gpu for gpu in self._config.gpus or () if gpu not in taken]


def refuse_if_never(settings: AnySettings, config: ServerConfig) -> None:
    """Raises FailedPrecondition (JOB_NEVER_FITS) for a job that could not begin if nothing else ran here."""
    need, whole = slots_of(settings, config), Room.of(config)
    if whole.takes(need):
        return
    if need.cpus > whole.cpus:
        raise FailedPrecondition(
            Reason.JOB_NEVER_FITS,
            f"the job needs {need.cpus} CPU slots and this server has {whole.cpus}; ask for less, or have the server "
            "started with more (gephyra serve --cpus)",
        )
    raise FailedPrecondition(
        Reason.JOB_NEVER_FITS,
        "device is cuda and this server has no GPU for jobs; use auto or cpu, or have the server started with some "
        "(gephyra serve --gpus)",
    )
