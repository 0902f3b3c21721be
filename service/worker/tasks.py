"""What a worker can do. Each task sends its own events and ends with exactly one final event."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from google.rpc import code_pb2

from gephyra.protos import target_service_pb2, tensor_pb2, training_service_pb2, worker_pb2
from gephyra.samplers import run, session
from gephyra.targets import loading
from gephyra.targets.base import Target
from gephyra.targets.check import check_target

from ..convert import to_metrics, to_site
from ..crash import Place, crash_point
from ..errors import Failure, Reason
from ..reports import to_report
from ..settings import from_config, from_how, to_config
from ..store.records import AnyMetrics
from ..tensors import from_tensor, to_tensor
from .cache import Workbench
from .failures import TaskError
from .place import join
from .table import read_table
from .targets import read_definition, to_program

__all__ = [
    "Call", "Turn", "check", "checkpoint_sender", "draw", "estimate", "evaluate", "examine", "metrics_sender", "train",
]  # fmt: skip

_Command = worker_pb2.WorkerCommand
_Event = worker_pb2.WorkerEvent

# A watcher sees two metrics a second; sending many more would cost small targets a part of their time.
_METRICS_SECONDS = 0.1
_FINITE_POINTS = 64
# Callers take turns on a worker, and see draws of a slow sampler at least this often.
_TURN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Call:
    """What a task is given beside its command."""

    id: int
    deliver: Callable[[_Event], None]
    should_stop: Callable[[], bool]
    workbench: Workbench
    clock: Callable[[], float]
    """Monotonic seconds."""
    started: float
    """The clock when this process began."""

    def send(self, event: _Event) -> None:
        """Send an event of this call."""
        event.id = self.id
        self.deliver(event)

    def stopped(self) -> None:
        """Say that this call ends because it was asked to."""
        self.send(_Event(stopped=_Event.Stopped()))


class Turn:
    """Sends blocks of draws until a turn is over: callers share a worker.

    Args:
        call: Where blocks go.
        most: The turn ends once this many bytes were sent, or a second has passed; 0: never.
    """

    def __init__(self, call: Call, most: int) -> None:
        self._call, self._most, self._sent, self._started = call, most, 0, call.clock()

    def over(self, block: _Event.Block) -> bool:
        """Send a block; whether it was the last of the turn."""
        self._call.send(_Event(block=block))
        # Not ByteSize, which serialises.
        self._sent += sum(len(tensor.data) for tensor in (block.x, *(site.tensor for site in block.sites)))
        late = self._call.clock() - self._started >= _TURN_SECONDS
        return self._most > 0 and (self._sent >= self._most or late)


def train(command: _Command.Train, call: Call) -> None:
    """Train a sampler, from the newest checkpoint if there is one, and write it to the path given; or assist in it."""
    settings = from_config(command.config)
    target = call.workbench.target(command.target_path)
    samples = read_table(command.samples) if command.HasField("samples") else None
    start = call.workbench.sampler(command.start_path, command.target_path) if command.start_path else None
    group = join(command)
    try:
        if group.rank > 0:
            session.assist(target, settings, group, samples=samples)
            call.send(_Event(done=_Event.Done()))
            return
        sampler = session.train(
            target,
            settings,
            start=start,
            samples=samples,
            group=group,
            on_metrics=metrics_sender(call),
            on_checkpoint=checkpoint_sender(call),
            should_stop=call.should_stop,
            checkpoint_folder=Path(command.checkpoint_folder),
            startup_seconds=call.clock() - call.started,
        )
    except run.StopTraining:
        call.stopped()
        return
    except run.TrainingFailed as error:
        # What settings and machine disagree on begins with the name of the option.
        inconsistent = error.reason == Reason.INCONSISTENT_SETTINGS
        field = f"config.{str(error).split(maxsplit=1)[0]}" if inconsistent else ""
        raise TaskError(Failure(code_pb2.FAILED_PRECONDITION, error.reason, str(error), field)) from error
    sampler.save(Path(command.sampler_path))
    crash_point(Place.SAMPLER_WRITTEN)
    trained = _Event.Trained(
        sampler_path=command.sampler_path, report=to_report(sampler.report), config=to_config(settings)
    )
    call.send(_Event(trained=trained))


def check(command: _Command.Check, call: Call) -> None:
    """Load a target and see that it is what the client captured: check points, or finite values somewhere."""
    target = call.workbench.target(command.target_path)
    definition = read_definition(Path(command.target_path), call.workbench.artefacts)
    match definition.WhichOneof("kind"):
        case "program":
            program = to_program(definition.program, call.workbench.artefacts)
            loading.replay(target, program.check_points, program.dtype)
        case "model":
            drawn = target.sample(_FINITE_POINTS, torch.Generator().manual_seed(0))
            assert drawn is not None, "a model has draws"
            _check_finite(target, drawn, "of the model's draws", "definition.model")
        case _:
            numbers = np.random.Generator(np.random.Philox(0)).standard_normal((_FINITE_POINTS, target.dim))
            points, path = torch.from_numpy(numbers), "definition.catalogue.parameters"
            _check_finite(target, points, "standard normal points; check the parameters", path)
    checked = _Event.Checked(dim=target.dim, log_z=target.log_z, sites=[to_site(site) for site in target.sites])
    call.send(_Event(checked=checked))


def evaluate(command: _Command.Evaluate, call: Call) -> None:
    """Log density, score and sites at given points."""
    target = call.workbench.target(command.target_path)
    x = torch.from_numpy(np.array(from_tensor(command.x, "x"), dtype=from_tensor(command.x, "x").dtype.name))
    log_density, score = target.log_density_and_score(x)
    sites = _sites(target, x) if command.include_sites else []
    answer = target_service_pb2.EvaluateTargetResponse(
        log_density=_tensor(log_density), score=_tensor(score), sites=sites
    )
    call.send(_Event(evaluated=answer))


def draw(command: _Command.Draw, call: Call) -> None:
    """Draws start_index ... start_index + count - 1 in blocks; a turn ends early at a block, by bytes or by time.

    Blocks are evaluated whole, the constraining map too, and cut afterwards: a row must not depend on the range.
    """
    sampler = call.workbench.sampler(command.sampler_path, command.target_path)
    size, end, turn = sampler.block_size, command.start_index + command.count, Turn(call, command.turn_bytes)
    first, how = command.start_index // size * size, from_how(command.how, sampler.settings.method)
    for block in sampler.draw(command.seed, first, -(-(end - first) // size) * size, how):
        if call.should_stop():
            call.stopped()
            return
        sites = {} if command.omit_sites else sampler.target.constrain(block.x)
        rows = slice(max(command.start_index - block.start, 0), min(end - block.start, len(block.x)))
        answer = _Event.Block(
            start_index=block.start + rows.start,
            count=rows.stop - rows.start,
            x=_tensor(block.x[rows].to(torch.float32)),
            log_weight=_tensor(block.log_weight[rows].to(torch.float64)),
            sites=_named(sampler.target, {name: value[rows] for name, value in sites.items()}),
        )
        if turn.over(answer):
            break
    call.send(_Event(done=_Event.Done()))


def estimate(command: _Command.Estimate, call: Call) -> None:
    """A report on fresh paths."""
    sampler = call.workbench.sampler(command.sampler_path, command.target_path)
    call.send(_Event(report=to_report(sampler.estimate(command.count, command.seed))))


def examine(command: _Command.Examine, call: Call) -> None:
    """Examine a density at random points."""
    target = call.workbench.target(command.target_path)
    # torch's CPU engine keeps 32 bits of a seed; two seeds that differ above them would give the same points.
    generator = torch.Generator().manual_seed(command.seed ^ (command.seed >> 32))
    findings = [
        target_service_pb2.CheckTargetResponse.Finding(check=f.check, passed=f.passed, detail=f.detail)
        for f in check_target(target, command.points, generator)
    ]
    call.send(_Event(examined=target_service_pb2.CheckTargetResponse(findings=findings)))


def metrics_sender(call: Call) -> Callable[[AnyMetrics], None]:
    """What sends metrics, not too many of them."""
    last_time, last_stage = -1e9, ""

    def send(metrics: AnyMetrics) -> None:
        nonlocal last_time, last_stage
        now = call.clock()
        if metrics.stage != last_stage or metrics.fraction >= 1 or now - last_time >= _METRICS_SECONDS:
            last_time, last_stage = now, metrics.stage
            call.send(_Event(metrics=to_metrics(metrics)))

    return send


def checkpoint_sender(call: Call) -> Callable[[int, float], None]:
    """What tells the server of a checkpoint that is on disk."""

    def send(step: int, seconds: float) -> None:
        crash_point(Place.CHECKPOINT_WRITTEN)
        call.send(_Event(checkpoint=training_service_pb2.CheckpointSaved(step=step, seconds=seconds)))

    return send


def _check_finite(target: Target, x: torch.Tensor, where: str, path: str) -> None:
    log_density, score = target.log_density_and_score(x)
    if not (log_density.isfinite() & score.isfinite().all(-1)).any():
        message = f"the log density is not finite at any of {len(x)} {where}"
        raise TaskError(Failure(code_pb2.INVALID_ARGUMENT, Reason.NON_FINITE_LOG_DENSITY, message, path))


def _sites(target: Target, x: torch.Tensor) -> list[tensor_pb2.NamedTensor]:
    return _named(target, target.constrain(x))


def _named(target: Target, values: dict[str, torch.Tensor]) -> list[tensor_pb2.NamedTensor]:
    dtypes = {site.name: np.dtype(site.dtype) for site in target.sites}
    return [
        tensor_pb2.NamedTensor(name=name, tensor=to_tensor(_array(value).astype(dtypes[name], copy=False)))
        for name, value in values.items()
    ]


def _tensor(value: torch.Tensor) -> tensor_pb2.Tensor:
    return to_tensor(_array(value))


def _array(value: torch.Tensor) -> np.ndarray:
    array: np.ndarray = value.detach().cpu().numpy()
    return array
