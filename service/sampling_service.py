"""SamplingService: draws and estimates from stored samplers."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from gephyra.protos import sampler_service_pb2 as pb
from gephyra.protos import sampler_service_pb2_grpc as pb_grpc
from gephyra.protos import worker_pb2

from . import names
from .core import Core
from .drawing import check_range, draws
from .errors import InvalidArgument, Reason
from .failures import raise_failed
from .handing import sampler_path, target_path
from .likelihoods import estimate_likelihood, evaluate_log_prob, refuse_model
from .registration import find_sampler
from .store.records import SamplerRecord

__all__ = ["SamplingService"]


class SamplingService(pb_grpc.SamplingServiceServicer):
    """What a trained sampler gives."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def DrawSamples(self, request: pb.DrawSamplesRequest, context: Any) -> AsyncIterator[Any]:
        self._core.refuse_if_stopping()
        sampler = await self._find(request.sampler)
        wanted = check_range(request, sampler, self._core.config.limits)
        async with aclosing(draws(self._core, sampler, wanted)) as messages:
            async for message in messages:
                yield message

    async def EstimateEvidence(self, request: pb.EstimateEvidenceRequest, context: Any) -> pb.EstimateEvidenceResponse:
        self._core.refuse_if_stopping()
        sampler = await self._find(request.sampler)
        refuse_model(sampler, "there is no Z to estimate; ask for the likelihood (nll) of data instead")
        most = self._core.config.limits.max_evidence_paths
        if not 2 <= request.count <= most:
            raise InvalidArgument.at(
                Reason.DRAWS_OUT_OF_RANGE, "count", f"expected 2 to {most} fresh paths, got {request.count}"
            )
        estimate = worker_pb2.WorkerCommand.Estimate(
            sampler_path=await sampler_path(self._core, sampler.digest),
            target_path=await target_path(self._core, sampler.target_digest),
            count=request.count, seed=request.seed,
        )  # fmt: skip
        command = worker_pb2.WorkerCommand(estimate=estimate)
        event = await self._core.pool.ask(command, self._core.config.timings.estimate, key=sampler.digest)
        raise_failed(event)
        return pb.EstimateEvidenceResponse(report=event.report)

    async def EvaluateLogProb(self, request: pb.EvaluateLogProbRequest, context: Any) -> pb.EvaluateLogProbResponse:
        self._core.refuse_if_stopping()
        return await evaluate_log_prob(self._core, await self._find(request.sampler), request)

    async def EstimateLikelihood(
        self, request: pb.EstimateLikelihoodRequest, context: Any
    ) -> pb.EstimateLikelihoodResponse:
        self._core.refuse_if_stopping()
        return await estimate_likelihood(self._core, await self._find(request.sampler), request)

    async def _find(self, name: str) -> SamplerRecord:
        return await self._core.store.read(find_sampler, names.parse(names.SAMPLERS, name, "sampler"))
