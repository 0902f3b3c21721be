"""How many more paths a second do two training workers make than one?

    python benchmarks/parallel.py [--json] [--batches 256,2048] [--rounds 7]

Seeds (26 dimensions) with the default settings, whose batch is 256, and with a larger batch. One worker on one thread
and two workers of one thread each, all in processes of their own with a training worker's environment, take turns on
the same steps: simulation, gradient, optimiser, and for two workers all that they tell each other. Wall seconds, the
median over rounds; so the processors should be otherwise idle.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.environment import worker_environment
from gephyra.samplers.counted import CountedTarget
from gephyra.samplers.gloo import Gloo
from gephyra.samplers.goal import CoolDown
from gephyra.samplers.group import Alone, Group
from gephyra.samplers.objectives import OBJECTIVES
from gephyra.samplers.objectives.inputs import ObjectiveInputs
from gephyra.samplers.optimise import Optimiser
from gephyra.samplers.prepare import new_bridge
from gephyra.samplers.progress import Progress
from gephyra.samplers.random import torch_generator
from gephyra.samplers.run import Pace
from gephyra.samplers.settings import Budget, TrainingSettings
from gephyra.targets.seeds import Seeds

# Paths a worker makes between two looks at the clock.
_PATHS = 8192
_WARM_STEPS = 3


@dataclass(frozen=True)
class Row:
    """What one batch size gave."""

    batch: int
    one_paths_per_second: float
    two_paths_per_second: float
    ratio: float
    """Median over rounds of the ratio within a round."""
    ratios: list[float]


def serve(batch: int, group: Group) -> None:
    """Take as many steps as each line of standard input says; answer with the wall seconds."""
    settings = TrainingSettings(batch_size=batch, workers=group.size, budget=Budget(iterations=10**6))
    target, bridge = CountedTarget(Seeds()), new_bridge(Seeds.dim, settings, None)
    objective = OBJECTIVES[settings.loss](ObjectiveInputs(settings, bridge, torch_generator("objective", 0)))
    optimiser = Optimiser(bridge, objective, settings, group)
    progress = Progress(settings.budget, CoolDown(settings.goal), target, Pace(time.monotonic), group)

    def steps(count: int) -> None:
        for _ in range(count):
            optimiser.advance(target, progress.fraction)
            progress.meet(optimiser.step)

    steps(_WARM_STEPS)
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.monotonic()
        steps(int(line))
        print(time.monotonic() - started, flush=True)


class Crew:
    """Workers in processes of their own that take the same steps."""

    def __init__(self, batch: int, size: int, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.parallel", "--serve", str(batch), "--store", str(folder / "store")]
        self._processes = [
            subprocess.Popen(
                [*command, "--place", f"{rank}/{size}"],
                env=worker_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for rank in range(size)
        ]  # fmt: skip
        self._answers()

    def seconds(self, steps: int) -> float:
        """Wall seconds that so many steps take the slowest of them."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
        return max(map(float, self._answers()))

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.communicate()

    def _answers(self) -> list[str]:
        lines = [process.stdout.readline() for process in self._processes if process.stdout is not None]
        if not all(lines):
            raise RuntimeError("a worker ended; what it printed says why")
        return lines


def measure(batch: int, rounds: int) -> Row:
    """One batch size: one worker and two, in turns."""
    steps, found = max(4, _PATHS // batch), []
    with tempfile.TemporaryDirectory() as folder:
        crews = [Crew(batch, size, Path(folder)) for size in (1, 2)]
        for _ in range(rounds):
            found.append([batch * steps / crew.seconds(steps) for crew in crews])
        for crew in crews:
            crew.close()
    one, two = (statistics.median(rates) for rates in zip(*found, strict=True))
    ratios = [second / first for first, second in found]
    return Row(batch, one, two, statistics.median(ratios), ratios)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON list to standard output")
    parser.add_argument("--batches", default="256,2048", help="comma-separated batch sizes (default 256,2048)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default 7)")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.serve:
        rank, size = map(int, arguments.place.split("/"))
        serve(arguments.serve, Alone() if size == 1 else Gloo(arguments.store, rank, size))
        return
    rows = [measure(int(batch), arguments.rounds) for batch in arguments.batches.split(",")]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    for row in rows:
        print(
            f"batch {row.batch:5}: one worker {row.one_paths_per_second:.0f} paths/s, two "
            f"{row.two_paths_per_second:.0f} paths/s, ratio {row.ratio:.2f} "
            f"(rounds: {', '.join(f'{ratio:.2f}' for ratio in row.ratios)})"
        )


if __name__ == "__main__":
    main()
