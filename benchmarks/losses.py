"""Compare the losses on Seeds, for every bridge, at equal training time.

    python benchmarks/losses.py --seconds 60 --seeds 0,1,2 [--json]

Prints a table to standard error as it goes, and with --json one JSON list to standard output. Each row is one run with
default settings otherwise; nothing is selected. Needs the [server] extra.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass

import torch

from gephyra.samplers.algorithms import BUILDERS
from gephyra.samplers.objectives import OBJECTIVES
from gephyra.samplers.session import train
from gephyra.samplers.settings import Budget, Loss, Method, TrainingSettings
from gephyra.targets.seeds import Seeds


@dataclass(frozen=True)
class Row:
    """One run."""

    target: str
    method: str
    loss: str
    seed: int
    seconds: float
    target_evaluations: int
    elbo: float
    elbo_se: float
    log_z: float
    log_z_se: float
    ess_fraction: float
    k_hat: float
    reference_log_z: float


def run(method: Method, loss: Loss, seed: int, seconds: float) -> Row:
    """Train once with defaults and report."""
    settings = TrainingSettings(method=method, loss=loss, seed=seed, budget=Budget(seconds=seconds))
    target = Seeds()
    report = train(target, settings).report
    numbers = {
        name: getattr(report, name) for name in ("elbo", "elbo_se", "log_z", "log_z_se", "ess_fraction", "k_hat")
    }
    return Row(
        "seeds",
        method.value,
        loss.value,
        seed,
        seconds,
        report.target_evaluations,
        reference_log_z=target.log_z,
        **numbers,
    )


def main() -> None:
    """Parse arguments, run every combination, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="training seconds a run (default 60)")
    parser.add_argument("--seeds", default="0", help="comma-separated seeds (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON list to standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'bridge':6} {'loss':7} {'seed':>4} {'ELBO':>9} {'log Z':>16} {'ESS':>6} {'k-hat':>6}", file=sys.stderr)
    rows = []
    for method in BUILDERS:
        for loss in OBJECTIVES:
            for seed in map(int, arguments.seeds.split(",")):
                row = run(method, loss, seed, arguments.seconds)
                estimate = f"{row.log_z:.3f} +- {row.log_z_se:.3f}"
                numbers = f"{row.elbo:9.3f} {estimate:>16} {row.ess_fraction:6.3f} {row.k_hat:6.2f}"
                print(f"{row.method:6} {row.loss:7} {seed:4} {numbers}", file=sys.stderr, flush=True)
                rows.append(row)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
