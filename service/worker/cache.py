"""Targets and samplers that stay loaded, the least recently used ones dropped first."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from google.rpc import code_pb2

from gephyra.samplers.denoising.sampler import DenoisingSampler
from gephyra.samplers.sampler import Sampler
from gephyra.targets.base import Target

from ..artefacts import Artefacts
from ..errors import Failure, Reason
from .failures import TaskError
from .targets import load_target

__all__ = ["Workbench"]

T = TypeVar("T")

# A loaded StableHLO target holds compiled programs of some 10 MB; a sampler is small.
_TARGETS = 8
_SAMPLERS = 16


class _Recent(Generic[T]):
    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str, make: Callable[[], T]) -> T:
        if key in self._items:
            self._items.move_to_end(key)
        else:
            self._items[key] = make()
            while len(self._items) > self._size:
                self._items.popitem(last=False)
        return self._items[key]


class Workbench:
    """Loads what commands name; paths name content, so what was loaded once stays right."""

    def __init__(self, artefacts: Artefacts) -> None:
        self.artefacts = artefacts
        self._targets: _Recent[Target] = _Recent(_TARGETS)
        self._samplers: _Recent[Sampler] = _Recent(_SAMPLERS)
        self._denoisers: _Recent[DenoisingSampler] = _Recent(_SAMPLERS)

    def target(self, path: str) -> Target:
        """The target of the definition at `path`. Raises ProgramError or ValueError if it is not acceptable."""
        return self._targets.get(path, lambda: load_target(Path(path), self.artefacts))

    def sampler(self, path: str, target_path: str) -> Sampler:
        """The sampler in the file at `path`. Raises TaskError (SAMPLER_FILE_INVALID) for a damaged one."""
        target = self.target(target_path)
        try:
            return self._samplers.get(f"{path}\0{target_path}", lambda: Sampler.load(Path(path), target))
        except ValueError as error:
            raise TaskError(Failure(code_pb2.INVALID_ARGUMENT, Reason.SAMPLER_FILE_INVALID, str(error))) from error

    def denoiser(self, path: str) -> DenoisingSampler:
        """The model of data in the file at `path`. Raises TaskError (SAMPLER_FILE_INVALID) for a damaged one."""
        try:
            return self._denoisers.get(path, lambda: DenoisingSampler.load(Path(path)))
        except ValueError as error:
            raise TaskError(Failure(code_pb2.INVALID_ARGUMENT, Reason.SAMPLER_FILE_INVALID, str(error))) from error
