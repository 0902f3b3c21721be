"""Does the 95 % interval of log Z cover the truth, and is a warning shown wherever log Z is far off?

    python benchmarks/calibration.py [--seconds 10] [--paths 4096] [--evaluations 200] [--method dbs] [--json]

Six targets with a known log Z, each trained once with default settings for `--seconds`, then `--evaluations`
evaluations in all, each on `--paths` fresh paths and fresh seeds. An error counts as unwarned if it is beyond three of
its stated standard errors and no warning was shown; warnings that come from comparing with the known log Z do not count
as shown.
Nothing is selected. A training run that fails is an error. Reference values: targets/.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

import torch

from gephyra.samplers.report import Report
from gephyra.samplers.session import train
from gephyra.samplers.settings import Budget, Method, TrainingSettings
from gephyra.targets.base import Target
from gephyra.targets.catalogue import build

# Of the warning that compares with the known log Z, which a user of a new target would not see.
_KNOWN = "contradicts the known value"
_CORRELATED = (torch.eye(10) + 0.9 * (torch.ones(10, 10) - torch.eye(10))).tolist()

TARGETS: Mapping[str, tuple[str, Mapping[str, object]]] = MappingProxyType(
    {
        "gaussian": ("gaussian", {"mean": [1.0] * 10, "covariance": _CORRELATED}),
        "many-well": ("many-well", {"dim": 5, "wells": 5, "delta": 4.0}),
        "funnel": ("funnel", {}),
        "eight-schools": ("eight-schools-non-centred", {}),
        "seeds": ("seeds", {}),
        "brownian": ("brownian", {}),
    }
)


@dataclass(frozen=True)
class Row:
    """One target, or all of them."""

    target: str
    evaluations: int
    covered: int
    """Intervals that hold the known log Z; an interval without an upper end holds all above its lower end."""
    below: int
    """Intervals that lie below it."""
    warned: int
    """Evaluations with a warning, those from the known log Z left out."""
    far: int
    """Errors beyond three stated standard errors."""
    far_unwarned: int
    """Those of them without a warning."""
    ess_fraction: float
    """Mean."""
    k_hat: float
    """Mean."""
    error: float
    """Mean of log Z minus the known value."""


def judged(name: str, reports: list[Report]) -> Row:
    """The row of a target's evaluations."""
    truth = [report.reference_log_z or 0.0 for report in reports]
    high = [float("inf") if report.log_z_high is None else report.log_z_high for report in reports]
    low = [float("-inf") if report.log_z_low is None else report.log_z_low for report in reports]
    warned = [any(_KNOWN not in warning for warning in report.warnings) for report in reports]
    errors = [report.log_z - true for report, true in zip(reports, truth, strict=True)]
    far = [abs(error) > 3.0 * report.log_z_se for report, error in zip(reports, errors, strict=True)]
    return Row(
        target=name,
        evaluations=len(reports),
        covered=sum(a <= t <= b for a, t, b in zip(low, truth, high, strict=True)),
        below=sum(b < t for t, b in zip(truth, high, strict=True)),
        warned=sum(warned),
        far=sum(far),
        far_unwarned=sum(a and not b for a, b in zip(far, warned, strict=True)),
        ess_fraction=sum(report.ess_fraction for report in reports) / len(reports),
        k_hat=sum(report.k_hat for report in reports) / len(reports),
        error=sum(errors) / len(errors),
    )


def evaluations(target: Target, method: Method, seconds: float, paths: int, count: int) -> list[Report]:
    """Train once, evaluate `count` times."""
    sampler = train(target, TrainingSettings(method=method, budget=Budget(seconds=seconds)))
    return [sampler.estimate(paths, seed=1 + k) for k in range(count)]


def show(row: Row) -> None:
    """One line to standard error."""
    share = 100 * row.covered / row.evaluations
    print(
        f"{row.target:14} {row.evaluations:4} {share:8.1f} % {row.below:6} {row.warned:7} {row.far:5} "
        f"{row.far_unwarned:9} {row.ess_fraction:7.3f} {row.k_hat:6.2f} {row.error:+8.4f}",
        file=sys.stderr,
        flush=True,
    )


def main() -> None:
    """Parse arguments, train, evaluate, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="training seconds a target (default 10)")
    parser.add_argument("--paths", type=int, default=4096, help="fresh paths an evaluation (default 4096)")
    parser.add_argument("--evaluations", type=int, default=200, help="in all (default 200)")
    parser.add_argument("--method", type=Method, default=Method.DBS, help="bridge (default dbs)")
    parser.add_argument("--targets", default=",".join(TARGETS), help="comma-separated (default all)")
    parser.add_argument("--json", action="store_true", help="print one JSON list to standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.targets.split(",")
    print("target            n  covered    below  warned   far  unwarned     ESS  k-hat    error", file=sys.stderr)
    rows, every = [], []
    for index, name in enumerate(names):
        count = arguments.evaluations // len(names) + (index < arguments.evaluations % len(names))
        family, parameters = TARGETS[name]
        target = build(family, parameters)
        reports = evaluations(target, arguments.method, arguments.seconds, arguments.paths, count)
        every += reports
        rows.append(judged(name, reports))
        show(rows[-1])
    rows.append(judged("all", every))
    show(rows[-1])
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
