"""Trains in children that somebody else may kill: `python -m tests.chaos.trainee`, told what to do line by line.

A line `KIND FOLDER` forks a child that trains from the newest checkpoint in FOLDER and keeps the number of steps it has
begun in FOLDER/progress. Answers: the child's pid; then its exit status (negative: a signal), the step that it began
from, and the SHA-256 of the final weights, `-` if there are none. Forking is safe here: nothing was computed before, so
no library has threads.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import torch

from gephyra.samplers.checkpoint import latest_checkpoint
from gephyra.samplers.denoising.session import train_denoiser
from gephyra.samplers.denoising.settings import DenoisingSettings
from gephyra.samplers.random import torch_generator
from gephyra.samplers.session import train
from gephyra.samplers.settings import Budget, Precondition, TrainingSettings
from gephyra.samplers.storage import read_tensors
from gephyra.targets.gaussian import Gaussian

STEPS = 200
# What the clock of a run moves by with each look at it: a checkpoint is due every few steps.
_TICK = 0.5


def bridge(folder: Path) -> None:
    """A diffusion bridge sampler of two dimensions."""
    settings = TrainingSettings(
        budget=Budget(iterations=STEPS), batch_size=32, steps=4, width=8, precondition=Precondition.GAUSSIAN
    )
    target = Gaussian([0.5, -0.5], [0.8, 1.2])
    ask = _progress(folder)
    train(target, settings, checkpoint_folder=folder, clock=_clock(), should_stop=ask).save(folder / "final")


def denoiser(folder: Path) -> None:
    """A model of data of two dimensions."""
    settings = DenoisingSettings(budget=Budget(iterations=STEPS), width=16, blocks=1, batch_size=64, solver_steps=4)
    generator = torch_generator("tests/chaos", 0)
    data = torch.randn(400, 2, generator=generator, dtype=torch.float64) ** 3
    ask, names = _progress(folder), ["a", "b"]
    trained = train_denoiser(data, names, settings, checkpoint_folder=folder, clock=_clock(), should_stop=ask)
    trained.save(folder / "final")


KINDS: Mapping[str, Callable[[Path], None]] = {"bridge": bridge, "denoiser": denoiser}


def main() -> None:
    """Serve standard input to its end."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        kind, name = line.split()
        folder = Path(name)
        stored = latest_checkpoint(folder)
        child = os.fork()
        if not child:
            KINDS[kind](folder)
            os._exit(0)
        print(child, flush=True)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, 0 if stored is None else stored.step, _digest(folder / "final"), flush=True)


def _progress(folder: Path) -> Callable[[], bool]:
    """Asked before every step; the answer is no."""
    numbers, file = count(1), os.open(folder / "progress", os.O_WRONLY | os.O_CREAT)

    def ask() -> bool:
        os.pwrite(file, b"%9d" % next(numbers), 0)
        return False

    return ask


def _clock() -> Callable[[], float]:
    return (_TICK * n for n in count()).__next__


def _digest(path: Path) -> str:
    """Of the weights alone: the report beside them tells times."""
    if not path.exists():
        return "-"
    digest = hashlib.sha256()
    for name, tensor in sorted(read_tensors(path)[0].items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
