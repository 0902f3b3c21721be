"""Compare the losses on Seeds, for every bridge, at equal training time.

    python benchmarks/losses.py --seconds 60 --seeds 0,1,2 [--json]

Prints a table to standard error as it goes, and with --json one JSON list to standard output, of rows as in quality.py.
Each row is one run with default settings otherwise; nothing is selected. What cannot be trained on Seeds (`fkl` needs
draws of the target) is said and left out. Needs the [server] extra.
"""

import argparse
import json
import sys
from dataclasses import asdict
from itertools import product

import torch

from benchmarks.quality import Row, run
from gephyra.samplers.algorithms import BUILDERS
from gephyra.samplers.objectives import OBJECTIVES
from gephyra.samplers.run import TrainingFailed
from gephyra.samplers.settings import Budget, TrainingSettings


def main() -> None:
    """Parse arguments, run every combination, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="training seconds a run (default 60)")
    parser.add_argument("--seeds", default="0", help="comma-separated seeds (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON list to standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{'bridge':7} {'loss':7} {'seed':>4} {'ELBO':>9} {'log Z':>16} {'ESS':>6} {'k-hat':>6} served", file=sys.stderr
    )
    rows = []
    for method, loss, seed in product(BUILDERS, OBJECTIVES, map(int, arguments.seeds.split(","))):
        budget = Budget(seconds=arguments.seconds)
        try:
            row = run("seeds", TrainingSettings(method=method, loss=loss, seed=seed, budget=budget))
        except TrainingFailed as error:
            print(f"{method:7} {loss:7} {seed:4} {error}", file=sys.stderr, flush=True)
            continue
        _print(row)
        rows.append(row)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))


def _print(row: Row) -> None:
    estimate = f"{row.log_z:.3f} +- {row.log_z_se:.3f}"
    numbers = f"{row.elbo:9.3f} {estimate:>16} {row.ess_fraction:6.3f} {row.k_hat:6.2f}"
    # Where training did not pay, every loss shows the same numbers: those of the baseline.
    print(f"{row.method:7} {row.loss:7} {row.seed:4} {numbers} {row.served}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
