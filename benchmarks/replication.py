"""The rKL-LD paper's comparison of losses (Sanokowski et al. 2025), repeated at a small budget.

    python benchmarks/replication.py [--json] [--targets seeds,sonar,credit-flat] [--methods cmcd,dbs]
        [--diffusion learned,frozen] [--losses rkl-r,lv,rkl-ld] [--starts rkl-ld] [--iterations 500] [--seeds 0,1,2]
        [--jobs 1]

The paper's conditions: no preconditioning, a Gaussian prior that is learned, diffusion coefficients learned and frozen
(`paper.py` has where runs start), CMCD with annealed Langevin drifts and linear annealing to begin with, DBS without
any fixed drift, steps of equal length, the same iterations, batch and steps for every loss. Not the paper's: 32 steps
instead of 128, as long as each of those; batches of 128 instead of 2000; 500 iterations instead of 40 000; our control
networks, Adam and cosine decay; five times its learning rates for DBS; one evaluation, of 4096 fresh paths after the
last step, instead of the best epoch. The paper's starts and rates differ between losses: --starts gives all losses
those of one. A run is never repeated and never left out: what has no ELBO is counted.

`rkl-ld` is the paper's estimator, with our leave-one-out mean. Two more words are known: `rkl-ld-shared` adds the
score of log q in what both chains share, `rkl-ld-controlled` is what the service trains with. Rows and the table go to
standard error, with --json the rows to standard output, one list, each as soon as it is there.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product, starmap

import torch
from torch import Tensor

from benchmarks.data import BENCHMARKS, build
from benchmarks.environment import data_folder, in_child
from benchmarks.paper import FIGURES, LOSSES, STARTS, Cell, bridge_of, settings_of
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.estimate import estimate
from gephyra.samplers.evaluate import BLOCK_SIZE, block
from gephyra.samplers.optimise import Optimiser
from gephyra.samplers.settings import Method
from gephyra.targets.base import Target

__all__ = ["Row", "main", "run", "table"]

# Of paths, after training.
_BLOCKS = 8
# Batches in a mean of the ELBO during training.
_WINDOW = 20


@dataclass(frozen=True)
class Row:
    """One run. Numbers are None where there is none: the run then failed."""

    target: str
    method: str
    learned: bool
    loss: str
    seed: int
    iterations: int
    starts_as: str
    """The loss of the paper whose start it took."""
    seconds: float | None = None
    first_elbo: float | None = None
    """Of the first batch: the untrained bridge."""
    best_elbo: float | None = None
    """Highest mean over 20 consecutive batches, for comparison with papers that report the best; used for nothing."""
    elbo: float | None = None
    log_z: float | None = None
    ess_fraction: float | None = None
    non_finite_paths: int | None = None

    @property
    def diverged(self) -> bool:
        """Whether it ended below the untrained bridge, or lost more than half of what training had gained."""
        if self.elbo is None or self.first_elbo is None or self.best_elbo is None:
            return False
        return self.elbo < self.first_elbo + 0.5 * max(0.0, self.best_elbo - self.first_elbo)


def run(cell: Cell, iterations: int, seed: int, starts_as: str | None = None) -> Row:
    """Train once, evaluate once.

    Args:
        cell: What.
        iterations: Optimiser steps, at least 1.
        seed: Of weights and noise.
        starts_as: The loss of the paper whose start it takes; None: its own.
    """
    target, loss = build(cell.target, data_folder()), LOSSES[cell.loss]
    starts_as = starts_as or loss.starts_as
    start = STARTS[cell._replace(loss=starts_as)]
    settings = settings_of(cell, start, iterations, seed)
    bridge = bridge_of(target.dim, start, settings)
    optimiser, began = Optimiser(bridge, loss.make(), settings), time.perf_counter()
    course = [-optimiser.advance(target, step / iterations).loss for step in range(iterations)]
    seconds = time.perf_counter() - began
    means = [statistics.fmean(course[last - _WINDOW : last]) for last in range(_WINDOW, iterations + 1)]
    row = Row(cell.target, cell.method.value, cell.learned, cell.loss, seed, iterations, starts_as, seconds)
    return _measured(row, course[0], max(means, default=-math.inf), _log_weights(bridge, target, seed))


def _log_weights(bridge: Bridge, target: Target, seed: int) -> Tensor:
    return torch.cat([block(bridge, target, "replication", seed, b, BLOCK_SIZE)[1] for b in range(_BLOCKS)])


def _measured(row: Row, first: float, best: float, log_weight: Tensor) -> Row:
    known = {"first_elbo": _finite(first), "best_elbo": _finite(best)}
    record = asdict(row) | known | {"non_finite_paths": int(log_weight.isinf().sum())}
    try:
        found = estimate(log_weight)
    except ValueError:
        return Row(**record)
    return Row(**record | {"elbo": found.elbo, "log_z": found.log_z, "ess_fraction": found.ess_fraction})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def table(rows: Iterable[Row]) -> list[str]:
    """Lines of a Markdown table: mean and standard error over seeds of each cell, beside the paper's figure."""
    cells: dict[Cell, list[Row]] = {}
    for row in rows:
        cells.setdefault(Cell(row.target, Method(row.method), row.learned, row.loss), []).append(row)
    head = ["target", "bridge", "diffusion", "loss", "ELBO", "log Z - reference", "ESS", "runs", "paper's ELBO"]
    return [_line(head), _line(["---"] * len(head)), *starmap(_of_cell, cells.items())]


def _of_cell(cell: Cell, rows: list[Row]) -> str:
    reference = BENCHMARKS[cell.target].reference_log_z or 0.0
    elbo = [row.elbo for row in rows if row.elbo is not None]
    error = [row.log_z - reference for row in rows if row.log_z is not None]
    ess = [row.ess_fraction for row in rows if row.ess_fraction is not None]
    figure = FIGURES.get(cell)
    paper = "" if figure is None else f"{figure.elbo:.2f}" + (f" ({figure.note})" if figure.note else "")
    kind = "learned" if cell.learned else "frozen"
    numbers = [_mean(elbo, 2), _mean(error, 2), _mean(ess, 3), _runs(rows), paper]
    return _line([cell.target, cell.method.value, kind, cell.loss, *numbers])


def _runs(rows: list[Row]) -> str:
    failed, diverged = sum(row.elbo is None for row in rows), sum(row.diverged for row in rows)
    notes = [f"{count} {what}" for count, what in ((failed, "failed"), (diverged, "diverged")) if count]
    return ", ".join([str(len(rows)), *notes])


def _mean(values: list[float], digits: int) -> str:
    if not values:
        return "none"
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} +- {statistics.stdev(values) / math.sqrt(len(values)):.{digits}f}"


def _line(entries: Iterable[str]) -> str:
    return f"| {' | '.join(entries)} |"


def main() -> None:
    """Parse arguments, run every combination, print."""
    options = _arguments()
    words = [getattr(options, name).split(",") for name in ("targets", "seeds", "methods", "diffusion", "losses")]
    runs = [
        (Cell(target, Method(method), kind == "learned", loss), int(seed))
        for target, seed, method, kind, loss in product(*words)
    ]
    if options.child:
        ((cell, seed),) = runs
        print(json.dumps(asdict(run(cell, options.iterations, seed, options.starts))))
        return
    rows: list[Row] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(lambda each: _child(each[0], each[1], options), runs):
            if options.json:
                print("," if rows else "[", json.dumps(asdict(row)), flush=True)
            rows.append(row)
    if options.json:
        print("]")
    print("", *table(rows), sep="\n", file=sys.stderr)


def _child(cell: Cell, seed: int, options: argparse.Namespace) -> Row:
    """The run in a process of its own; one that ends badly has failed."""
    kind, iterations = "learned" if cell.learned else "frozen", options.iterations
    words = ["--targets", cell.target, "--methods", cell.method.value, "--diffusion", kind, "--losses", cell.loss]
    words += ["--seeds", str(seed), "--iterations", str(iterations)]
    words += ["--starts", options.starts] if options.starts else []
    done, starts_as = in_child("benchmarks.replication", words), options.starts or LOSSES[cell.loss].starts_as
    row = Row(cell.target, cell.method.value, cell.learned, cell.loss, seed, iterations, starts_as)
    row = row if done.returncode else Row(**json.loads(done.stdout))
    reached = "failed" if row.elbo is None else f"ELBO {row.elbo:.3f}{' diverged' if row.diverged else ''}"
    print(f"{' '.join(cell[:2])} {kind} {cell.loss} {seed}: {reached}", file=sys.stderr, flush=True)
    return row


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", default="seeds,sonar,credit-flat", help="comma-separated (default: all three)")
    parser.add_argument("--methods", default="cmcd,dbs", help="comma-separated (default cmcd,dbs)")
    parser.add_argument("--diffusion", default="learned,frozen", help="coefficients (default learned,frozen)")
    parser.add_argument("--losses", default="rkl-r,lv,rkl-ld", help=f"of {', '.join(LOSSES)}")
    parser.add_argument("--starts", choices=["rkl-r", "lv", "rkl-ld"], help="start all as this loss (default: its own)")
    parser.add_argument("--iterations", type=int, default=500, help="optimiser steps a run (default 500)")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated seeds (default 0,1,2)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, one thread each (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON list to standard output")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
