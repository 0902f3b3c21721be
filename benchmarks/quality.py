"""Train on benchmark targets with one set of defaults, and put the reports beside reference and published values.

    python benchmarks/quality.py --targets sonar,seeds --seconds 60 --seeds 0,1,2
        [--method M] [--loss L] [--precondition P] [--jobs 2] [--json]

The same command serves every target: nothing is set by target, and nothing is selected. A row is one run; the medians
over seeds follow. With --json one JSON list of the rows goes to standard output. Data sets that do not ship are read
from the folder that GEPHYRA_DATA names. Each run is a process of its own on one thread, in the environment of the
service's workers; --jobs of them run at once.
"""

import argparse
import json
import math
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product

from benchmarks.data import BENCHMARKS, build
from benchmarks.environment import data_folder, in_child
from benchmarks.masses import draw_facts
from gephyra.samplers.session import train
from gephyra.samplers.settings import Budget, Loss, Method, Precondition, TrainingSettings


@dataclass(frozen=True)
class Row:
    """One run."""

    target: str
    method: str
    loss: str
    precondition: str
    seed: int
    seconds: float
    target_evaluations: int
    elbo: float
    elbo_se: float
    log_z: float
    log_z_se: float
    ess_fraction: float
    k_hat: float
    reference_log_z: float | None
    published_elbo: float | None
    baseline_elbo: float | None
    served: str
    modes: int
    precondition_seconds: float
    mode_variation: float | None
    modes_drawn: int | None
    least_share: float | None
    first_sd: float
    first_sd_raw: float
    warnings: tuple[str, ...]


_HEAD = (
    f"{'target':13} {'seed':>4} {'ELBO':>9} {'log Z':>17} {'error':>7} {'ESS':>6} {'k-hat':>6} {'baseline':>9} served"
)


def run(name: str, settings: TrainingSettings) -> Row:
    """Train once and report. Raises TrainingFailed where these settings cannot be trained on this target."""
    sampler = train(build(name, data_folder()), settings)
    report, found, facts = sampler.report, sampler.report.precondition, draw_facts(name, sampler)
    return Row(
        target=name,
        method=settings.method.value,
        loss=settings.loss.value,
        precondition=settings.precondition.value,
        seed=settings.seed,
        seconds=settings.budget.seconds or math.nan,
        target_evaluations=report.target_evaluations,
        elbo=report.elbo,
        elbo_se=report.elbo_se,
        log_z=report.log_z,
        log_z_se=report.log_z_se,
        ess_fraction=report.ess_fraction,
        k_hat=report.k_hat,
        reference_log_z=BENCHMARKS[name].reference_log_z,
        published_elbo=BENCHMARKS[name].published_elbo,
        baseline_elbo=found.elbo,
        served=report.served.value,
        modes=found.modes,
        precondition_seconds=report.times.precondition_seconds,
        mode_variation=facts.mode_variation,
        modes_drawn=facts.modes_drawn,
        least_share=facts.least_share,
        first_sd=facts.first_sd,
        first_sd_raw=facts.first_sd_raw,
        warnings=report.warnings,
    )


def main() -> None:
    """Parse arguments, run every combination, print."""
    options = _arguments()
    if options.child:
        (name,), (seed,) = options.targets.split(","), options.seeds.split(",")
        print(json.dumps(asdict(run(name, _settings(int(seed), options)))))
        return
    print(_HEAD, file=sys.stderr)
    runs = list(product(options.targets.split(","), map(int, options.seeds.split(","))))
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(lambda each: _in_child(each[0], each[1], options), runs))
    print(f"\nmedians over seeds {options.seeds}, {options.seconds:g} s", file=sys.stderr)
    for name in dict.fromkeys(name for name, _ in runs):
        _print_medians(name, [row for row in rows if row.target == name])
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))


def _settings(seed: int, options: argparse.Namespace) -> TrainingSettings:
    """The defaults, with the words that were given."""
    defaults = TrainingSettings()
    return TrainingSettings(
        method=Method(options.method or defaults.method),
        loss=Loss(options.loss or defaults.loss),
        precondition=Precondition(options.precondition or defaults.precondition),
        budget=Budget(seconds=options.seconds),
        seed=seed,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", default="seeds,sonar", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--seconds", type=float, default=60.0, help="training seconds a run (default 60)")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated seeds (default 0,1,2)")
    parser.add_argument("--method", choices=list(Method), help="bridge (default: the service's)")
    parser.add_argument("--loss", choices=list(Loss), help="loss (default: the service's)")
    parser.add_argument("--precondition", choices=list(Precondition), help="coordinates (default: the service's)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, one thread each (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON list to standard output")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_child(name: str, seed: int, options: argparse.Namespace) -> Row:
    words = ["--targets", name, "--seeds", str(seed), "--seconds", str(options.seconds)]
    for word in ("method", "loss", "precondition"):
        words += [f"--{word}", getattr(options, word)] if getattr(options, word) else []
    done = in_child("benchmarks.quality", words)
    done.check_returncode()
    row = Row(**json.loads(done.stdout))
    _print(name, str(seed), row)
    return row


def _print(name: str, seed: str, row: Row) -> None:
    estimate = f"{row.log_z:.3f} +- {row.log_z_se:.3f}"
    error = math.nan if row.reference_log_z is None else row.log_z - row.reference_log_z
    baseline = "" if row.baseline_elbo is None else f"{row.baseline_elbo:.3f}"
    numbers = f"{row.elbo:9.3f} {estimate:>17} {error:7.3f} {row.ess_fraction:6.3f} {row.k_hat:6.2f} {baseline:>9}"
    print(f"{name:13} {seed:>4} {numbers} {row.served:8} {_modes(row)}", file=sys.stderr, flush=True)


def _modes(row: Row) -> str:
    if row.mode_variation is None:
        return f"sd of x_0 {row.first_sd:.2f} ({row.first_sd_raw:.2f} unweighted)" if row.target == "funnel" else ""
    return f"{row.modes_drawn} modes, total variation {row.mode_variation:.3f}, least share {row.least_share:.4f}"


def _print_medians(name: str, rows: list[Row]) -> None:
    elbo = statistics.median(row.elbo for row in rows)
    known = rows[0].reference_log_z
    error = math.nan if known is None else statistics.median(abs(row.log_z - known) for row in rows)
    ess = statistics.median(row.ess_fraction for row in rows)
    published = rows[0].published_elbo
    beside = "" if published is None else f", published ELBO {published}"
    print(f"{name:13} ELBO {elbo:.3f}, |log Z error| {error:.3f}, ESS {ess:.3f}{beside}", file=sys.stderr)


if __name__ == "__main__":
    main()
