"""Registered densities."""

from typing import TYPE_CHECKING, Self

from gephyra.protos import target_service_pb2

from ..aio.target import AsyncTargetHandle, Evaluation, Finding
from ..facts import TargetFacts
from .bridge import Bridge

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["TargetHandle"]


class TargetHandle(TargetFacts):
    """A registered target: what is known of it, its density at given points."""

    def __init__(self, bridge: Bridge, twin: AsyncTargetHandle) -> None:
        self._bridge = bridge
        self._twin = twin

    @property
    def message(self) -> target_service_pb2.Target:
        """The server's record, as it came last."""
        return self._twin.message

    def refresh(self) -> Self:
        """Read the record again."""
        self._bridge.run(self._twin.refresh())
        return self

    def check(self, points: int = 0, seed: int = 0) -> tuple[Finding, ...]:
        """Examine the density: finiteness, score against central differences, batch consistency, speed.

        Args:
            points: Points to try; 0 leaves it to the server.
            seed: Seed of the points.
        """
        return self._bridge.run(self._twin.check(points, seed))

    def evaluate(self, x: "ArrayLike", *, sites: bool = False) -> Evaluation:
        """Log density and score at unconstrained points x, (points, dim) or (dim,), in float32 or float64.

        Raises MessageTooLarge or InvalidArgument for more points than the server takes.
        """
        return self._bridge.run(self._twin.evaluate(x, sites=sites))

    def delete(self) -> None:
        """Remove the target. Raises FailedPrecondition (RESOURCE_IN_USE) while jobs or samplers need it."""
        self._bridge.run(self._twin.delete())
