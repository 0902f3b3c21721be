"""TargetService: registers densities and evaluates them."""

from typing import Any

from google.protobuf.empty_pb2 import Empty

from gephyra.protos import target_service_pb2 as pb
from gephyra.protos import target_service_pb2_grpc as pb_grpc
from gephyra.protos import tensor_pb2, worker_pb2

from . import jobs, names
from .checks import Checks
from .config import TENANT
from .convert import to_target
from .core import Core
from .crash import Place, crash_point
from .definitions import draw_bytes, field_error
from .errors import bad_field
from .failures import raise_failed
from .handing import target_path
from .paging import page_size
from .registration import find_target, register, remove_target
from .store import targets
from .store.records import TargetRecord
from .tensors import array_bytes

__all__ = ["TargetService"]

_CHECK_POINTS = 64


class TargetService(pb_grpc.TargetServiceServicer):
    """Densities known up to a constant."""

    def __init__(self, core: Core, checks: Checks) -> None:
        self._core = core
        self._checks = checks

    async def CreateTarget(self, request: pb.CreateTargetRequest, context: Any) -> pb.Target:
        self._core.refuse_if_stopping()
        self._checks.refuse_if_busy()
        request_id = names.check_request_id(request.request_id)
        target = await register(self._core, request.definition, request.target_id, request_id)
        crash_point(Place.TARGET_STORED)
        await self._checks.begin(target.name)
        return to_target(target)

    async def GetTarget(self, request: pb.GetTargetRequest, context: Any) -> pb.Target:
        return to_target(await self._find(request.name))

    async def ListTargets(self, request: pb.ListTargetsRequest, context: Any) -> pb.ListTargetsResponse:
        size = page_size(request.page_size, self._core.config.limits)
        found, token = await self._core.store.read(targets.page, TENANT, size, request.page_token)
        return pb.ListTargetsResponse(targets=[to_target(target) for target in found], next_page_token=token)

    async def DeleteTarget(self, request: pb.DeleteTargetRequest, context: Any) -> Empty:
        await self._core.store.write(remove_target, names.parse(names.TARGETS, request.name, "name"))
        crash_point(Place.TARGET_DELETED)
        return Empty()

    async def CheckTarget(self, request: pb.CheckTargetRequest, context: Any) -> pb.CheckTargetResponse:
        most = self._core.config.limits.max_check_points
        if not 0 <= request.points <= most:
            raise bad_field("points", f"expected 0 to {most} points, got {request.points}")
        path = await self._ready_path(request.name)
        points = request.points or _CHECK_POINTS
        examine = worker_pb2.WorkerCommand.Examine(target_path=path, points=points, seed=request.seed)
        return (await self._ask(worker_pb2.WorkerCommand(examine=examine), path)).examined

    async def EvaluateTarget(self, request: pb.EvaluateTargetRequest, context: Any) -> pb.EvaluateTargetResponse:
        name = names.parse(names.TARGETS, request.name, "name")
        target = await self._core.store.read(jobs.ready_target, name)
        _check_points(request, target, self._core)
        path = await target_path(self._core, target.digest)
        evaluate = worker_pb2.WorkerCommand.Evaluate(target_path=path, x=request.x, include_sites=request.include_sites)
        return (await self._ask(worker_pb2.WorkerCommand(evaluate=evaluate), path)).evaluated

    async def _find(self, name: str) -> TargetRecord:
        return await self._core.store.read(find_target, names.parse(names.TARGETS, name, "name"))

    async def _ready_path(self, name: str) -> str:
        target = await self._core.store.read(jobs.ready_target, names.parse(names.TARGETS, name, "name"))
        return await target_path(self._core, target.digest)

    async def _ask(self, command: worker_pb2.WorkerCommand, key: str) -> worker_pb2.WorkerEvent:
        self._core.refuse_if_stopping()
        event = await self._core.pool.ask(command, self._core.config.timings.evaluate, key=key)
        raise_failed(event)
        return event


def _check_points(request: pb.EvaluateTargetRequest, target: TargetRecord, core: Core) -> None:
    """Raises InvalidArgument for points of another shape, or so many that the answer would not fit a message."""
    x, limits = request.x, core.config.limits
    if x.dtype not in (tensor_pb2.DTYPE_FLOAT32, tensor_pb2.DTYPE_FLOAT64):
        raise bad_field("x.dtype", f"expected FLOAT32 or FLOAT64, got number {x.dtype}")
    if len(x.shape) != 2 or x.shape[1] != target.dim:
        raise bad_field("x.shape", f"expected (points, {target.dim}), got {list(x.shape)[:20]}")
    try:
        expected = array_bytes(x.dtype, x.shape, "x")
    except ValueError as error:
        raise field_error(error) from None
    if len(x.data) != expected:
        raise bad_field("x.data", f"shape {list(x.shape)} needs {expected} bytes, got {len(x.data)}")
    # A score in float64 and the log density, and the sites; a draw's bytes are about half of that.
    answer = 2 * draw_bytes(target.dim, target.sites, not request.include_sites)
    most = min(limits.max_evaluate_points, limits.max_draw_bytes // answer)
    if not 1 <= x.shape[0] <= most:
        raise bad_field("x.shape", f"expected 1 to {most} points a call, got {x.shape[0]}")
