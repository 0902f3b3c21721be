"""What 10 000 draws of a target save: evaluations of it until ESS 0.5, with and without a warm start from them.

    python -m benchmarks.warm_start [--targets four-modes,gmm40-2] [--seeds 0,1,2] [--method ddpm] [--steps 128]
        [--seconds 300] [--json]

For each target and seed two runs with equal settings, no preconditioner, and a standard normal prior that covers all
modes (GMM40 in units of 25): rKL-LD alone, and rKL-LD after denoising on draws, each until its paths reach ESS 0.5 or
the seconds are over, of which denoising takes a third at most. The target hides that it can draw, so that the report's
EUBO is that of the rows that nothing learned from. Evaluations are counted from the first step, those of the warm start
too, until the paths of 16 steps of rKL-LD first reach ESS 0.5; ESS, modes and the bracket are of the 16 384 fresh paths
and draws afterwards. A mode is kept if it holds a tenth of its share of the weighted draws.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import product

import torch
from torch import Tensor

from gephyra.samplers.random import torch_generator
from gephyra.samplers.report import Metrics, Report
from gephyra.samplers.run import TrainingFailed
from gephyra.samplers.sampler import Sampler
from gephyra.samplers.session import train
from gephyra.samplers.settings import Budget, Goal, Method, Precondition, TrainingSettings
from gephyra.targets.base import Target
from gephyra.targets.catalogue import gmm40
from gephyra.targets.gaussian import GaussianMixture

__all__ = ["ESS", "ROWS", "TARGETS", "Hidden", "Pair", "Run", "compare", "kept"]

ESS, ROWS = 0.5, 10_000
_DRAWS = 16384
_SPREAD = 25.0


class Hidden(Target):
    """A target that says neither that it can draw nor its log Z: all that a user with a chain of it has."""

    def __init__(self, target: Target) -> None:
        self.dim, self._target = target.dim, target

    def _log_density(self, x: Tensor) -> Tensor:
        return self._target.log_density(x)

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._target.log_density_and_score(x)


@dataclass(frozen=True)
class Run:
    """One run; log Z is 0."""

    evaluations: int
    """Until ESS 0.5 on the paths of 16 steps, or in all where that never was."""
    reached: bool
    report: Report | None
    """None where training failed."""
    modes: int

    @property
    def brackets(self) -> bool:
        """Whether ELBO <= log Z <= EUBO, within four standard errors."""
        found = self.report
        if found is None or found.eubo is None or found.eubo_se is None:
            return False
        return found.elbo - 4 * found.elbo_se <= 0.0 <= found.eubo + 4 * found.eubo_se


@dataclass(frozen=True)
class Pair:
    """A target and a seed, without and with the warm start."""

    target: str
    seed: int
    modes: int
    """Of the target."""
    alone: Run
    warm: Run

    @property
    def ratio(self) -> float:
        """Evaluations with a warm start over those without; inf where it never reached the ESS."""
        return self.warm.evaluations / self.alone.evaluations if self.warm.reached else math.inf


def _four_modes() -> GaussianMixture:
    """Means (+-5, +-5) / sqrt(26) and variance 1/26: overall mean 0 and variance 1."""
    places = torch.tensor(list(product((-5.0, 5.0), repeat=2)), dtype=torch.float64)
    return GaussianMixture(places / math.sqrt(26), 1 / math.sqrt(26))


def _gmm40() -> GaussianMixture:
    return GaussianMixture(gmm40(2).means / _SPREAD, 1 / _SPREAD)


TARGETS: Mapping[str, Callable[[], GaussianMixture]] = {"four-modes": _four_modes, "gmm40-2": _gmm40}


def kept(sampler: Sampler, mixture: GaussianMixture) -> int:
    """Modes that hold at least a tenth of their share of the weighted draws."""
    blocks = list(sampler.draw(1, 0, _DRAWS))
    weight = torch.cat([block.log_weight for block in blocks]).softmax(0)
    nearest = torch.cdist(torch.cat([block.x for block in blocks]).double(), mixture.means.double()).argmin(1)
    share = torch.zeros(len(mixture.means), dtype=torch.float64).index_add_(0, nearest, weight)
    return int((share >= 0.1 / len(mixture.means)).sum())


def compare(name: str, settings: TrainingSettings) -> Pair:
    """Train without and with the warm start, by the same settings."""
    mixture = TARGETS[name]()
    rows = mixture.sample(ROWS, torch_generator("benchmarks/warm-start", settings.seed))
    alone = _run(mixture, settings, None)
    return Pair(name, settings.seed, len(mixture.means), alone, _run(mixture, settings, rows))


def _run(mixture: GaussianMixture, settings: TrainingSettings, rows: Tensor | None) -> Run:
    told: list[Metrics] = []
    try:
        sampler = train(Hidden(mixture), settings, samples=rows, on_metrics=told.append)
    except TrainingFailed as error:
        print(f"  failed: {error}", file=sys.stderr)
        return Run(told[-1].target_evaluations, False, None, 0)
    trained = [metrics for metrics in told if metrics.stage == "train"]
    first = next((metrics for metrics in trained if metrics.ess_fraction >= ESS), None)
    spent = (first or trained[-1]).target_evaluations
    return Run(spent, first is not None, sampler.report, kept(sampler, mixture))


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", default=",".join(TARGETS), help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated seeds (default 0,1,2)")
    parser.add_argument(
        "--method", type=Method, default=Method.DDPM, choices=list(Method), help="bridge (default ddpm)"
    )
    parser.add_argument("--steps", type=int, default=128, help="transitions a path (default 128)")
    parser.add_argument("--width", type=int, default=128, help="hidden width (default 128)")
    parser.add_argument("--seconds", type=float, default=300.0, help="of rKL-LD alone, at most (default 300)")
    parser.add_argument("--json", action="store_true", help="print one JSON list to standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = []
    for name, seed in product(options.targets.split(","), map(int, options.seeds.split(","))):
        settings = TrainingSettings(
            method=options.method, precondition=Precondition.NONE, steps=options.steps, width=options.width, seed=seed,
            budget=Budget(seconds=options.seconds), goal=Goal(ess_fraction=ESS),
        )  # fmt: skip
        pairs.append(compare(name, settings))
        _print(pairs[-1])
    if options.json:
        print(json.dumps([asdict(pair) for pair in pairs]))


def _print(pair: Pair) -> None:
    print(f"{pair.target} seed {pair.seed}: ratio {pair.ratio:.3f}", file=sys.stderr, flush=True)
    for name, run in (("alone", pair.alone), ("warm", pair.warm)):
        sign = "" if run.reached else "> "
        line = f"  {name:5} {sign}{run.evaluations / 1e6:.2f} M evaluations, {run.modes} of {pair.modes} modes"
        if run.report is not None:
            found = run.report
            eubo = math.nan if found.eubo is None else found.eubo
            line += f", ESS {found.ess_fraction:.3f}, ELBO {found.elbo:.3f}, log Z {found.log_z:.3f} +- "
            line += f"{found.log_z_se:.3f}, EUBO {eubo:.3f} ({found.eubo_source}), bracket holds: {run.brackets}"
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
