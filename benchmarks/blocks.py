"""How many draws a second does one thread make, by the size of the blocks they are evaluated in?

    python benchmarks/blocks.py [--json]

Seeds, default bridge, untrained (the networks cost the same). Rates are relative to blocks of 256 in the same run.
"""

import argparse
import json
import time

import torch

from gephyra.samplers.algorithms import build
from gephyra.samplers.algorithms.parts import Ingredients
from gephyra.samplers.coordinates import Coordinates
from gephyra.samplers.evaluate import block
from gephyra.samplers.random import torch_generator
from gephyra.samplers.settings import TrainingSettings
from gephyra.targets.seeds import Seeds

SIZES = (64, 256, 512, 1024, 2048)
DRAWS = 8192
ROUNDS = 3


def rates() -> dict[int, float]:
    """Draws a second of processor time, by block size; the sizes take turns so that drift hits all alike."""
    bridge = build(Ingredients(26, TrainingSettings(), torch_generator("benchmark", 0)))
    view = Coordinates(torch.zeros(26), 0.3 * torch.ones(26)).view(Seeds())
    spent = dict.fromkeys(SIZES, 0.0)
    for size in SIZES:
        block(bridge, view, "warm", 0, 0, size)
    for _ in range(ROUNDS):
        for size in SIZES:
            started = time.process_time()
            for index in range(DRAWS // size):
                block(bridge, view, "benchmark", 0, index, size)
            spent[size] += time.process_time() - started
    return {size: ROUNDS * DRAWS / seconds for size, seconds in spent.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON list to standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = rates()
    rows = [
        {"block_size": size, "draws_per_second": rate, "ratio_to_256": rate / measured[256]}
        for size, rate in measured.items()
    ]
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['block_size']:6} {row['draws_per_second']:9.0f} draws/s {row['ratio_to_256']:6.2f}")


if __name__ == "__main__":
    main()
