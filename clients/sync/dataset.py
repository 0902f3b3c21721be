"""Data sets: what is known of one."""

from typing import Self

from gephyra.protos import dataset_service_pb2

from ..aio.dataset import AsyncDataset
from ..dataset_facts import DatasetFacts
from .bridge import Bridge

__all__ = ["Dataset"]


class Dataset(DatasetFacts):
    """A table of numbers on the server, and the facts of its columns."""

    def __init__(self, bridge: Bridge, twin: AsyncDataset) -> None:
        self._bridge = bridge
        self._twin = twin

    @property
    def message(self) -> dataset_service_pb2.Dataset:
        """The server's record, as it came last."""
        return self._twin.message

    def refresh(self) -> Self:
        """Read the record again, with the facts of its columns."""
        self._bridge.run(self._twin.refresh())
        return self

    def delete(self) -> None:
        """Remove the data set from the server, and its values unless another data set has the same."""
        self._bridge.run(self._twin.delete())
