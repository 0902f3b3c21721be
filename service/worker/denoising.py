"""What a worker does with models of data: train, draw, log densities, likelihoods."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.rpc import code_pb2
from torch import Tensor

from gephyra.protos import sampler_service_pb2, worker_pb2
from gephyra.samplers.denoising.likelihood import NegativeLogLikelihood
from gephyra.samplers.denoising.sampler import BLOCK_SIZE, DenoisingSampler, summary
from gephyra.samplers.denoising.session import train_denoiser
from gephyra.samplers.run import StopTraining, TrainingFailed

from ..crash import Place, crash_point
from ..denoising import from_denoising, from_solver, to_denoising_report, to_likelihood
from ..errors import Failure, Reason
from ..tensors import from_tensor, to_tensor
from .failures import TaskError
from .table import read_table
from .tasks import Call, Turn, checkpoint_sender, metrics_sender

__all__ = ["fit", "generate", "judge", "log_prob"]

_Command = worker_pb2.WorkerCommand
_Event = worker_pb2.WorkerEvent

# Rows of densities between two looks at whether the caller is still there.
_ROWS = 256


def fit(command: _Command.Fit, call: Call) -> None:
    """Train a model of data, from the newest checkpoint if there is one, and write it to the path given."""
    settings, table = from_denoising(command.config), command.table
    target = call.workbench.target(command.target_path) if command.target_path else None
    try:
        sampler = train_denoiser(
            read_table(table),
            list(table.columns),
            settings,
            target=target,
            on_metrics=metrics_sender(call),
            on_checkpoint=checkpoint_sender(call),
            should_stop=call.should_stop,
            checkpoint_folder=Path(command.checkpoint_folder),
        )
    except StopTraining:
        call.stopped()
        return
    except TrainingFailed as error:
        raise TaskError(Failure(code_pb2.FAILED_PRECONDITION, error.reason, str(error))) from error
    sampler.save(Path(command.sampler_path))
    crash_point(Place.SAMPLER_WRITTEN)
    report = to_denoising_report(sampler.report)
    call.send(_Event(trained=_Event.Trained(sampler_path=command.sampler_path, denoising_report=report)))


def generate(command: _Command.Generate, call: Call) -> None:
    """Draws start_index ... start_index + count - 1 in blocks, with log weight 0; a turn ends early as in `draw`."""
    sampler = call.workbench.denoiser(command.sampler_path)
    solver = from_solver(command.solver, "solver")
    steps = command.solver_steps if command.HasField("solver_steps") else None
    turn, start = Turn(call, command.turn_bytes), command.start_index
    for x in sampler.draw(command.seed, start, command.count, solver, steps):
        if call.should_stop():
            call.stopped()
            return
        block = _Event.Block(
            start_index=start, count=len(x), x=_tensor(x.float()), log_weight=to_tensor(np.zeros(len(x)))
        )
        assert len(x) <= BLOCK_SIZE
        if turn.over(block):
            break
        start += len(x)
    call.send(_Event(done=_Event.Done()))


def log_prob(command: _Command.LogProb, call: Call) -> None:
    """Log density at given points."""
    found = _log_prob(call.workbench.denoiser(command.sampler_path), _rows(command.x), call)
    if found is not None:
        answer = sampler_service_pb2.EvaluateLogProbResponse(log_prob=_tensor(found))
        call.send(_Event(log_prob=answer))


def judge(command: _Command.Judge, call: Call) -> None:
    """Likelihood of rows, or of a data set."""
    sampler = call.workbench.denoiser(command.sampler_path)
    x = _rows(command.x) if command.WhichOneof("data") == "x" else read_table(command.table)
    try:
        found = sampler.nll(x, command.seed, command.draws)
    except ValueError as error:
        raise TaskError(
            Failure(code_pb2.INVALID_ARGUMENT, Reason.UNSUITABLE_DATA, str(error), command.WhichOneof("data") or "")
        ) from error
    answer = sampler_service_pb2.EstimateLikelihoodResponse(**_likelihood("elbo", found.elbo))
    if found.flow is not None:
        answer.MergeFrom(sampler_service_pb2.EstimateLikelihoodResponse(**_likelihood("flow", found.flow)))
    call.send(_Event(likelihood=answer))


def _log_prob(sampler: DenoisingSampler, x: Tensor, call: Call) -> Tensor | None:
    """In parts, so that a stop is heard; None once it was, and said."""
    parts = []
    for part in x.split(_ROWS):
        if call.should_stop():
            call.stopped()
            return None
        with torch.no_grad():
            parts.append(sampler.log_prob(part))
    return torch.cat(parts)


def _likelihood(name: str, found: NegativeLogLikelihood) -> dict[str, Any]:
    return {name: to_likelihood(summary(found)), f"{name}_nats": _tensor(found.nats)}


def _rows(x: Any) -> Tensor:
    return torch.from_numpy(np.array(from_tensor(x, "x"), dtype="float64"))


def _tensor(value: Tensor) -> Any:
    return to_tensor(value.detach().cpu().numpy())
