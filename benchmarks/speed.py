"""How close does a training step come to the matrix products that it cannot avoid?

    python benchmarks/speed.py [--json] [--cases small,paper]

Seeds (26 dimensions), DBS, rKL-LD, one thread, each case in a process with a training worker's environment. The floor
is the bare products of a step, back to back, at the shapes the step uses: three a transition for the simulation; for
each network three forward, three for its weights and two for its inputs, at every point, a chunk at a time. Steps and
floors take turns, in processor seconds of the thread; the least of each counts, since other processes can only add.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from benchmarks.environment import worker_environment
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.evaluate import BLOCK_SIZE, block
from gephyra.samplers.losses import reverse_kl_log_derivative
from gephyra.samplers.objectives.detached import DetachedObjective
from gephyra.samplers.optimise import Optimiser
from gephyra.samplers.prepare import new_bridge
from gephyra.samplers.settings import Budget, TrainingSettings
from gephyra.samplers.sweep import chunks
from gephyra.targets.seeds import Seeds


@dataclass(frozen=True)
class Case:
    """Batch, steps and width of a training step, and how often it is measured."""

    batch: int
    steps: int
    width: int
    rounds: int


CASES = {"small": Case(256, 32, 64, 60), "paper": Case(2000, 128, 128, 4)}


@dataclass(frozen=True)
class Row:
    """What one case took."""

    case: str
    step_seconds: float
    matmul_floor_seconds: float
    roofline_fraction: float
    draws_per_second: float
    peak_bytes: int
    first_step_seconds: float
    """Wall seconds from the end of the imports to the end of the first step."""


def products(case: Case, bridge: Bridge) -> Callable[[], None]:
    """The bare products of a step."""
    dim, width = bridge.dim, case.width
    inlet, hidden, outlet = torch.randn(width, 2 * dim), torch.randn(width, width), torch.randn(2 * dim, width)
    lengths = [points.stop - points.start for points in chunks(slice(0, case.steps), case.batch, width)]
    rows = {length * case.batch for length in (1, *lengths)}
    arrays = {m: (torch.randn(m, 2 * dim), torch.randn(m, width)) for m in rows}

    def forward(ends: Tensor, inner: Tensor) -> None:
        ends @ inlet.mT, inner @ hidden.mT, inner @ outlet.mT

    def backward(ends: Tensor, inner: Tensor) -> None:
        ends.mT @ inner, inner.mT @ inner, inner.mT @ ends, ends @ outlet, inner @ hidden

    def once() -> None:
        for _ in range(case.steps):
            forward(*arrays[case.batch])
        for length in lengths:
            for _ in range(2):
                forward(*arrays[length * case.batch])
                backward(*arrays[length * case.batch])

    return once


def least(rounds: int, *actions: Callable[[], object]) -> list[float]:
    """The least processor seconds of each action, taking turns."""
    taken = [[float("inf")] for _ in actions]
    for _ in range(rounds):
        for action, seconds in zip(actions, taken, strict=True):
            started = time.thread_time()
            action()
            seconds.append(time.thread_time() - started)
    return [min(seconds) for seconds in taken]


def measure(name: str) -> Row:
    """One case, in this process."""
    started, case = time.monotonic(), CASES[name]
    settings = TrainingSettings(
        batch_size=case.batch, steps=case.steps, width=case.width, budget=Budget(iterations=case.rounds + 1)
    )
    target, bridge = Seeds(), new_bridge(Seeds.dim, settings, None)
    optimiser = Optimiser(bridge, DetachedObjective(reverse_kl_log_derivative), settings)
    optimiser.advance(target, 0.0)
    first = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    step, floor = least(case.rounds, lambda: optimiser.advance(target, 0.0), products(case, bridge))
    (draws,) = least(max(2, case.rounds // 4), lambda: block(bridge, target, "speed", 0, 0, BLOCK_SIZE))
    return Row(name, step, floor, floor / step, BLOCK_SIZE / draws, peak, first)


def in_worker(name: str) -> Row:
    """One case, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed", "--worker", name]
    done = subprocess.run(command, env=worker_environment(), check=True, stdout=subprocess.PIPE, text=True)
    return Row(**json.loads(done.stdout))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON list to standard output")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated cases (default all)")
    parser.add_argument("--worker", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.worker:
        print(json.dumps(asdict(measure(arguments.worker))))
        return
    rows = [in_worker(name) for name in arguments.cases.split(",")]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    for row in rows:
        print(
            f"{row.case:6} step {row.step_seconds:.4f} s, floor {row.matmul_floor_seconds:.4f} s, fraction "
            f"{row.roofline_fraction:.3f}, {row.draws_per_second:.0f} draws/s, peak {row.peak_bytes / 1e6:.0f} MB, "
            f"first step after {row.first_step_seconds:.2f} s"
        )


if __name__ == "__main__":
    main()
