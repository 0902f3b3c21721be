"""Registered densities."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from gephyra.protos import target_service_pb2

from ..channel import Connection
from ..errors import DataLoss, DeadlineExceeded, TargetRejected
from ..facts import TargetFacts
from ..request import fill
from ..status import error_from_status
from ..words import TargetState

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["AsyncTargetHandle", "Evaluation", "Finding", "checked"]

_COMPUTE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of examining a target."""

    check: str
    """What was examined: `finite`, `score`, `batch`, `speed`, ..."""
    passed: bool
    detail: str
    """What was measured, in words with numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A density at given points."""

    log_density: "NDArray[Any]"
    """(points,)."""
    score: "NDArray[Any]"
    """Gradient of the log density, (points, dim)."""
    sites: "Mapping[str, NDArray[Any]]"
    """The model's own sites, (points, *shape) each; empty unless asked for."""


class AsyncTargetHandle(TargetFacts):
    """A registered target."""

    def __init__(self, connection: Connection, message: target_service_pb2.Target) -> None:
        self._connection = connection
        self._message = message

    @property
    def message(self) -> target_service_pb2.Target:
        """The server's record, as it came last."""
        return self._message

    async def refresh(self) -> Self:
        """Read the record again."""
        request = target_service_pb2.GetTargetRequest(name=self.name)
        self._message = await self._connection.unary(lambda stubs: stubs.targets.GetTarget, request)
        return self

    async def check(self, points: int = 0, seed: int = 0) -> tuple[Finding, ...]:
        """Examine the density: finiteness, score against central differences, batch consistency, speed.

        Args:
            points: Points to try; 0 leaves it to the server.
            seed: Seed of the points.
        """
        request = fill(target_service_pb2.CheckTargetRequest(name=self.name), points=points, seed=seed)
        answer = await self._connection.unary(lambda stubs: stubs.targets.CheckTarget, request, _COMPUTE_SECONDS)
        return tuple(Finding(found.check, found.passed, found.detail) for found in answer.findings)

    async def evaluate(self, x: "ArrayLike", *, sites: bool = False) -> Evaluation:
        """Log density and score at unconstrained points x, (points, dim) or (dim,), in float32 or float64.

        Raises MessageTooLarge or InvalidArgument for more points than the server takes.
        """
        # Here, because importing the client must be quick and numpy takes half of the time.
        import numpy as np

        from ..tensors import from_tensor, to_tensor

        points = np.atleast_2d(np.asarray(x))
        points = points if points.dtype == np.float32 else points.astype(np.float64)
        tensor = to_tensor(points, "x")
        request = target_service_pb2.EvaluateTargetRequest(name=self.name, x=tensor, include_sites=sites)
        answer = await self._connection.unary(lambda stubs: stubs.targets.EvaluateTarget, request, _COMPUTE_SECONDS)
        try:
            return Evaluation(
                from_tensor(answer.log_density, "log_density"),
                from_tensor(answer.score, "score"),
                {site.name: from_tensor(site.tensor, f"sites[{site.name}]") for site in answer.sites},
            )
        except ValueError as error:
            raise DataLoss(f"the server sent a damaged answer: {error}") from None

    async def delete(self) -> None:
        """Remove the target. Raises FailedPrecondition (RESOURCE_IN_USE) while jobs or samplers need it."""
        request = target_service_pb2.DeleteTargetRequest(name=self.name)
        await self._connection.unary(lambda stubs: stubs.targets.DeleteTarget, request)


async def checked(target: AsyncTargetHandle, timeout: float) -> AsyncTargetHandle:
    """The target once it is READY; raises TargetRejected, or DeadlineExceeded after `timeout` seconds."""
    clock = asyncio.get_running_loop().time
    end, pause = clock() + timeout, 0.02
    while target.state is not TargetState.READY:
        if target.state is TargetState.REJECTED:
            raise error_from_status(target.message.error, TargetRejected)
        if clock() > end:
            raise DeadlineExceeded(f"{target.name} is still being checked after {timeout:.0f} s; see target.refresh()")
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.5)
        await target.refresh()
    return target
