"""Every benchmark target by name, with its reference log Z and the ELBOs that others published.

Definitions follow the reference implementations of the sampling literature (Blessing et al. 2024, 2025), digit by
digit: which columns are centred, where the intercept stands, which labels count as 1. Data sets that do not ship are
read from the folder that GEPHYRA_DATA names; `gephyra data fetch` writes it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benchmarks.switching import switching
from gephyra.clients.datasets import DATASETS
from gephyra.targets.base import Target
from gephyra.targets.catalogue import build as from_catalogue
from gephyra.targets.lgcp import LogGaussianCox
from gephyra.targets.regression import LogisticRegression, standardised

__all__ = ["BENCHMARKS", "VARIABLE", "Benchmark", "MissingData", "Published", "UnknownBenchmark", "build"]

VARIABLE = "GEPHYRA_DATA"
"""Environment variable with the folder of the data sets."""

_Array = NDArray[np.float64]
_Read = Callable[[str], _Array]


class UnknownBenchmark(LookupError):
    """No benchmark has this name."""


class MissingData(LookupError):
    """A data set that does not ship is not there; the message names the file and the variable."""


@dataclass(frozen=True, slots=True)
class Published:
    """An ELBO from a paper, and whose."""

    elbo: float
    by: str


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One target of the literature."""

    name: str
    make: Callable[[_Read], Target]
    """The target, given a function from the name of a data set to its table."""
    reference_log_z: float | None
    """None where it is not known."""
    reference_se: float = 0.0
    """Uncertainty of the reference, as its source states it; 0 where it is exact or by quadrature."""
    published: tuple[Published, ...] = ()
    """Each paper's own best; how many paths and steps they took differs."""

    def build(self, folder: Path | None = None) -> Target:
        """The target.

        Args:
            folder: Where the data sets are; None where the caller knows of no folder.

        Raises:
            MissingData: If a file is needed that is not there.
            InvalidArgument: If a file is not of the expected layout.
        """
        return self.make(partial(_read, folder))

    @property
    def published_elbo(self) -> float | None:
        """The highest published ELBO; None without one."""
        return max((each.elbo for each in self.published), default=None)

    @property
    def published_by(self) -> str:
        """Whose it is; empty without one."""
        return max(self.published, key=lambda each: each.elbo).by if self.published else ""


def build(name: str, folder: Path | None = None) -> Target:
    """The target of a benchmark, as `Benchmark.build`.

    Raises:
        UnknownBenchmark: For another name.
        MissingData: If a file is needed that is not there.
    """
    if name not in BENCHMARKS:
        raise UnknownBenchmark(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name].build(folder)


def _read(folder: Path | None, name: str) -> _Array:
    layout = DATASETS[name]
    advice = f"set {VARIABLE} to a folder that holds it (gephyra data fetch {name} writes it)"
    if folder is None:
        raise MissingData(f"{layout.file} is needed and {VARIABLE} is not set: {advice}")
    try:
        return layout.read(folder)
    except FileNotFoundError:
        raise MissingData(f"{layout.file} is needed and not in {folder}: {advice}") from None


def _centred(name: str, read: _Read) -> Target:
    """Standardised columns, an intercept first, N(0, 1) on every weight, P(label = 1) = sigmoid(X w)."""
    table = read(name)
    return LogisticRegression(standardised(table[:, :-1]), (table[:, -1] + 1) / 2, prior_scale=1.0)


def _credit(prior_scale: float, read: _Read) -> Target:
    """Columns over their sd, not centred; P(bad) = sigmoid(-X w), with label 1 good, 2 bad."""
    table = read("credit")
    features = table[:, :-1]
    return LogisticRegression(features / features.std(0), 2 - table[:, -1], prior_scale)


def _cancer(read: _Read) -> Target:
    """As credit: P(benign) = sigmoid(-X w), with label 1 benign."""
    table = read("cancer")
    features = table[:, 2:]
    return LogisticRegression(features / features.std(0), 1 - table[:, 1], prior_scale=10.0)


def _catalogue(family: str, parameters: Mapping[str, object], read: _Read) -> Target:
    return from_catalogue(family, parameters)


def _named(family: str, **parameters: object) -> Callable[[_Read], Target]:
    return partial(_catalogue, family, parameters)


def _rkl_ld(elbo: float) -> Published:
    return Published(elbo, "rKL-LD")


def _mixture(elbo: float) -> Published:
    return Published(elbo, "Gaussian mixture prior")


_ALL = (
    Benchmark("seeds", _named("seeds"), -73.40617, 0.00005, (_rkl_ld(-73.45), _mixture(-73.418))),
    Benchmark("sonar", partial(_centred, "sonar"), -108.387, 0.008, (_rkl_ld(-108.83),)),
    Benchmark("ionosphere", partial(_centred, "ionosphere"), -111.611, 0.004, (_mixture(-111.657),)),
    Benchmark("credit", partial(_credit, 10.0), -585.100, 0.002, (_mixture(-585.145),)),
    Benchmark("credit-flat", partial(_credit, math.inf), -504.487, 0.003, (_rkl_ld(-504.58),)),
    Benchmark("cancer", _cancer, -77.563, 0.005, (_mixture(-78.402),)),
    Benchmark("brownian", _named("brownian"), 1.18773, published=(_rkl_ld(1.06), _mixture(1.118))),
    Benchmark("lgcp", lambda read: LogGaussianCox(read("pines")), 501.78, 0.03, (_rkl_ld(469.89),)),
    Benchmark("funnel", _named("funnel", dim=10), 0.0),
    Benchmark("gmm40-2", _named("gmm40", dim=2), 0.0),
    Benchmark("gmm40-50", _named("gmm40", dim=50), 0.0),
    Benchmark("many-well-5", _named("many-well", dim=5, wells=5, delta=4.0), -0.5410555),
    Benchmark("many-well-50", _named("many-well", dim=50, wells=5, delta=2.0), 42.8172427),
    Benchmark("switching", lambda read: switching(), None),
    Benchmark("student-50", _named("student-mixture"), 0.0),
    Benchmark("eight-schools", _named("eight-schools"), -36.130816),
)

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({each.name: each for each in _ALL})
"""Every benchmark by name."""
