"""MetaService: what this server accepts."""

from collections.abc import Iterable
from typing import Any

from gephyra import __version__
from gephyra.protos import meta_service_pb2 as pb
from gephyra.protos import meta_service_pb2_grpc as pb_grpc
from gephyra.samplers.settings import Device, Integrator, Loss, Method, Precision, Precondition
from gephyra.targets import allowlist
from gephyra.targets.families import FAMILIES

from .core import Core
from .definitions import program_formats

__all__ = ["MetaService"]


class MetaService(pb_grpc.MetaServiceServicer):
    """The server about itself."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Any) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse(
            version=__version__,
            limits=self._limits(),
            methods=list(Method),
            losses=list(Loss),
            preconditions=list(Precondition),
            integrators=list(Integrator),
            devices=list(Device),
            precisions=list(Precision),
            catalogue=[
                pb.CatalogueFamily(
                    family=name, description=family.description, parameters=[p.name for p in family.parameters]
                )
                for name, family in FAMILIES.items()
            ],
            aten=_operators(allowlist.ATEN),
            stablehlo=_operators(allowlist.STABLEHLO_OPS | allowlist.CUSTOM_CALLS),
            program_formats=program_formats(),
        )

    def _limits(self) -> pb.Limits:
        config, limits = self._core.config, self._core.config.limits
        return pb.Limits(
            max_message_bytes=limits.max_message_bytes, max_blob_bytes=limits.max_blob_bytes,
            max_program_nodes=limits.max_program_nodes, max_draws=limits.max_draws,
            max_chunk_bytes=limits.max_chunk_bytes, max_check_points=limits.max_check_points,
            max_evaluate_points=limits.max_evaluate_points, max_evidence_paths=limits.max_evidence_paths,
            max_dim=limits.max_dim, max_running_jobs=config.running_jobs,
            max_dataset_bytes=limits.max_dataset_bytes, max_queued_jobs=limits.max_queued_jobs,
            max_tenant_running_jobs=limits.max_tenant_running_jobs, cpu_slots=config.cpu_slots,
            gpu_slots=-1 if config.gpus is None else len(config.gpus),
            max_record_calls=limits.max_record_calls, max_streams=limits.max_streams,
            max_work_calls=limits.max_work_calls, max_watches=limits.max_watches, keep_events=limits.keep_events,
        )  # fmt: skip


def _operators(names: Iterable[str]) -> pb.OperatorAllowlist:
    return pb.OperatorAllowlist(operators=sorted(names), digest=allowlist.digest(names))
