"""Models of data, judged on rows that training never saw: likelihoods, modes, draws. Default settings for every set.

    python -m benchmarks.held_out [--sets eight,digits,cancer] [--seconds 300] [--seed 0] [--json] [--sheet PATH]

* `eight`: eight Gaussians in two dimensions, means on radius 4, standard deviation 0.5, equal weights; 20 000 rows to
  train on, 2000 held out. The entropy and the law of every projection are known.
* `digits`: scikit-learn's 1797 images of 8 x 8 pixels with 17 levels; a fifth held out. Bits a dimension, of which
  independent pixels take 2.43.
* `cancer`: scikit-learn's breast cancer, 569 rows of 30 features, standardised; a fifth held out. Beside the Gaussian
  with the training rows' mean and covariance.

Splits are by --seed as well. The ELBO and the probability flow are likelihoods of two models, of which neither bounds
the other. `--sheet` writes 64 draws of the digits as a picture.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special, stats
from torch import Tensor

from gephyra.samplers.denoising.sampler import DenoisingSampler, gaussian_likelihood
from gephyra.samplers.denoising.session import train_denoiser
from gephyra.samplers.denoising.settings import DenoisingSettings
from gephyra.samplers.random import keyed_generator
from gephyra.samplers.settings import Budget

_MODES, _RADIUS, _SD = 8, 4.0, 0.5
PROJECTIONS = 8
"""Directions along which draws of the eight Gaussians are tested."""
_DRAWS, _SIDE, _ROWS_OF_SHEET = 10_000, 8, 8


@dataclass(frozen=True)
class Split:
    """A data set."""

    training: Tensor
    held_out: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One run."""

    data: str
    seed: int
    seconds: float
    steps: int
    best_step: int
    elbo_nats: float
    """Negative, mean over held out rows, like the next three."""
    elbo_se: float
    bits_per_dim: float
    flow_nats: float | None
    gaussian_nats: float | None
    below_gaussian: float | None
    """How far the flow is below the Gaussian, a paired difference."""
    below_gaussian_se: float | None
    bound_below_gaussian: float | None
    """The same of the ELBO."""
    bound_below_gaussian_se: float | None
    true_nats: float | None
    """Minus the mean log density of the held out rows."""
    least_p_value: float | None
    """Of Kolmogorov-Smirnov tests of projections of draws."""
    worst_mode: float | None
    """Largest distance of a mode's share of draws from an eighth, in standard errors."""


def eight(seed: int) -> Split:
    """Eight Gaussians."""
    generator = keyed_generator("benchmarks/eight", seed)
    mode = generator.integers(0, _MODES, 22_000)
    x = torch.from_numpy(_centres()[mode] + _SD * generator.standard_normal((22_000, 2)))
    return Split(x[:20_000].float(), x[20_000:].float(), ("x", "y"))


def digits(seed: int) -> Split:
    """scikit-learn's digits."""
    from sklearn.datasets import load_digits

    return _fifth(load_digits().data, tuple(f"pixel{n}" for n in range(64)), seed)


def cancer(seed: int) -> Split:
    """scikit-learn's breast cancer, standardised by all rows."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    values = (found.data - found.data.mean(0)) / found.data.std(0)
    return _fifth(values, tuple(found.feature_names), seed)


SETS: Mapping[str, Callable[[int], Split]] = MappingProxyType({"eight": eight, "digits": digits, "cancer": cancer})


def _fifth(values: NDArray[np.float64], names: tuple[str, ...], seed: int) -> Split:
    from sklearn.model_selection import train_test_split

    training, held_out = train_test_split(values, test_size=0.2, random_state=seed)
    return Split(torch.from_numpy(training).float(), torch.from_numpy(held_out).float(), names)


def _centres() -> NDArray[np.float64]:
    angle = 2 * math.pi * np.arange(_MODES) / _MODES
    return _RADIUS * np.stack([np.cos(angle), np.sin(angle)], 1)


def _log_density_of_eight(x: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = np.square(x[:, None] - _centres()).sum(2) / _SD**2
    found: NDArray[np.float64] = special.logsumexp(-0.5 * squared, axis=1) - math.log(_MODES * 2 * math.pi * _SD**2)
    return found


def entropy_of_eight() -> float:
    """In nats, by a sum over a fine grid, which is exact for so smooth a density."""
    axis = np.arange(-8.0, 8.0, 0.05)
    log_density = _log_density_of_eight(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))
    return float(-(np.exp(log_density) * log_density).sum() * 0.05**2)


def run(name: str, seconds: float, seed: int) -> tuple[Row, DenoisingSampler]:
    """Train once, judge once."""
    split = SETS[name](seed)
    settings = DenoisingSettings(budget=Budget(seconds=seconds), seed=seed)
    sampler = train_denoiser(split.training, split.names, settings)
    found, report = sampler.nll(split.held_out, seed=1), sampler.report
    gaussian = flow = None
    below: tuple[float | None, ...] = (None,) * 4
    if found.flow is not None:
        gaussian, flow = gaussian_likelihood(sampler.frame, split.held_out), found.flow
        below = (*_paired(gaussian.nats - flow.nats), *_paired(gaussian.nats - found.elbo.nats))
    known = _against_eight(sampler, split.held_out, seed) if name == "eight" else (None,) * 3
    row = Row(
        name, seed, seconds, report.steps, report.best_step, found.elbo.mean, found.elbo.standard_error,
        found.elbo.bits_per_dim, flow.mean if flow else None, gaussian.mean if gaussian else None, *below, *known,
    )  # fmt: skip
    return row, sampler


def _paired(difference: Tensor) -> tuple[float, float]:
    return float(difference.mean()), float(difference.std()) / math.sqrt(len(difference))


def _against_eight(sampler: DenoisingSampler, held_out: Tensor, seed: int) -> tuple[float, float, float]:
    """Minus the true log density, least p-value, worst mode."""
    log_density = _log_density_of_eight(held_out.double().numpy())
    x = torch.cat(list(sampler.draw(seed + 1, 0, _DRAWS))).double().numpy()
    values = []
    for angle in math.pi * np.arange(PROJECTIONS) / PROJECTIONS + 0.1:
        direction = np.array([math.cos(angle), math.sin(angle)])
        law = stats.norm(loc=(_centres() @ direction)[:, None], scale=_SD)
        values.append(stats.kstest(x @ direction, lambda z, law=law: law.cdf(z).mean(0)).pvalue)
    mode = np.square(x[:, None] - _centres()).sum(2).argmin(1)
    share = np.bincount(mode, minlength=_MODES) / len(x)
    error = math.sqrt((1 / _MODES) * (1 - 1 / _MODES) / len(x))
    return float(-log_density.mean()), float(min(values)), float(np.abs(share - 1 / _MODES).max() / error)


def write_sheet(sampler: DenoisingSampler, path: Path) -> None:
    """The first 64 draws of seed 0, in a square."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    x = torch.cat(list(sampler.draw(0, 0, _ROWS_OF_SHEET**2))).view(_ROWS_OF_SHEET, _ROWS_OF_SHEET, _SIDE, _SIDE)
    framed = torch.nn.functional.pad(x, (1, 1, 1, 1), value=8.0)
    sheet = framed.permute(0, 2, 1, 3).reshape(_ROWS_OF_SHEET * (_SIDE + 2), -1)
    pyplot.imsave(path, np.kron(sheet.numpy(), np.ones((4, 4))), cmap="gray_r", vmin=0, vmax=16)


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", default=",".join(SETS), help="comma-separated (default all)")
    parser.add_argument("--seconds", type=float, default=300.0, help="training seconds a set (default 300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="write 64 draws of the digits to this picture")
    parser.add_argument("--json", action="store_true", help="print one JSON list to standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in arguments.sets.split(","):
        row, sampler = run(name, arguments.seconds, arguments.seed)
        rows.append(row)
        print(json.dumps(asdict(row)), file=sys.stderr, flush=True)
        if name == "digits" and arguments.sheet is not None:
            write_sheet(sampler, arguments.sheet)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
