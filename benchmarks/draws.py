"""What do the wire and the service add to the time of draws from a model of data?

    python -m benchmarks.draws [--rounds 5] [--json]

A default model of scikit-learn's digits (1797 images of 8 x 8 pixels, 64 columns), trained for a moment: the networks
cost the same. 10 000 draws by DPM-Solver++(2M) in 20 steps, in this process and through a server of its own on a Unix
socket, by turns; both compute on one thread with a serving worker's environment. Wall seconds, and processor seconds of
client, server and workers together; other processes can only add, so the least of each counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch

from gephyra.clients import Client
from gephyra.samplers.denoising.sampler import DenoisingSampler
from gephyra.samplers.denoising.settings import SolverName
from gephyra.service.artefacts import Artefacts
from gephyra.service.executor import serving_environment

_DRAWS, _STEPS, _SEED, _ROUNDS = 10_000, 20, 1, 5
_ITERATIONS = 200


class Seconds(NamedTuple):
    """What one way took."""

    wall: float
    processor: float


def measure(rounds: int, folder: Path) -> dict[str, Any]:
    """Least seconds of each way, and their ratios. Raises ValueError where the two ways draw differently."""
    from sklearn.datasets import load_digits

    with Client.local(folder) as client:
        data = client.upload(load_digits().data.astype(np.uint8), progress=False)
        job = client.train(data, method="denoising", iterations=_ITERATIONS)
        handle = job.result(progress=False)
        sampler = DenoisingSampler.load(Artefacts(folder / "artefacts").path(handle.digest))

        def here(seed: int = _SEED) -> np.ndarray:
            parts = sampler.draw(seed, 0, _DRAWS, SolverName.DPM_SOLVER, _STEPS)
            return torch.cat(list(parts)).numpy()

        def through_service(seed: int = _SEED) -> np.ndarray:
            return handle.draw(_DRAWS, seed=seed, solver=SolverName.DPM_SOLVER, solver_steps=_STEPS).x

        if not np.array_equal(here(), through_service()):
            raise ValueError("the server's draws are not those of its file")
        inside, outside = _least(rounds, here, through_service)
    ratios = {"wall_ratio": outside.wall / inside.wall, "processor_ratio": outside.processor / inside.processor}
    return {"in_process": inside._asdict(), "service": outside._asdict(), **ratios}


def _least(rounds: int, *actions: Callable[[int], object]) -> list[Seconds]:
    """The least seconds of each action, taking turns; a seed a round, since a server remembers what it drew lately."""
    taken: list[list[Seconds]] = [[] for _ in actions]
    for seed in range(_SEED + 1, _SEED + 1 + rounds):
        for action, seconds in zip(actions, taken, strict=True):
            wall, processor = time.perf_counter(), _processor_seconds()
            action(seed)
            seconds.append(Seconds(time.perf_counter() - wall, _processor_seconds() - processor))
    return [Seconds(min(s.wall for s in each), min(s.processor for s in each)) for each in taken]


def _processor_seconds() -> float:
    """Of this process and all that it started."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def main() -> None:
    """Measure in a process with a worker's environment, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="how often each way is measured")
    parser.add_argument("--json", action="store_true", help="print one JSON object to standard output")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.child:
        command = [sys.executable, "-m", "benchmarks.draws", "--child", *sys.argv[1:]]
        sys.exit(subprocess.run(command, env={**os.environ, **serving_environment()}, check=False).returncode)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.rounds, Path(folder))
    if arguments.json:
        print(json.dumps(found))
        return
    for way in ("in_process", "service"):
        print(f"{way:10} {found[way]['wall']:7.3f} s, {found[way]['processor']:7.3f} processor seconds")
    print(f"{'ratio':10} {found['wall_ratio']:7.3f}  , {found['processor_ratio']:7.3f}, {_DRAWS} draws")


if __name__ == "__main__":
    main()
