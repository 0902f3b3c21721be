"""The benchmark targets: defined as stated, on made-up tables and on the real ones, and their reference log Z."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.special import log_expit

from benchmarks.data import BENCHMARKS, MissingData, UnknownBenchmark, build
from gephyra.clients.datasets import DATASETS
from gephyra.clients.errors import InvalidArgument
from gephyra.targets.base import Target
from tests.statistics import standard_errors
from tests.support.datasets import data_folder

Array = NDArray[np.float64]
FROM_FILES = {"sonar": 61, "ionosphere": 35, "credit": 25, "credit-flat": 25, "cancer": 31, "lgcp": 1600}


def bernoulli(design: Array, y: Array, w: Array) -> float:
    """Log likelihood of y = 1 with probability sigmoid(design w)."""
    return float(np.where(y == 1, log_expit(design @ w), log_expit(-design @ w)).sum())


def with_ones(features: Array) -> Array:
    return np.column_stack([np.ones(len(features)), features])


def centred(table: Array, w: Array) -> float:
    features = table[:, :-1]
    spread = features.std(0)
    design = with_ones((features - features.mean(0)) / np.where(spread == 0, 1, spread))
    return bernoulli(design, (table[:, -1] + 1) // 2, w) + float(stats.norm.logpdf(w).sum())


def credit_flat(table: Array, w: Array) -> float:
    return bernoulli(-with_ones(table[:, :24] / table[:, :24].std(0)), table[:, 24] - 1, w)


def credit(table: Array, w: Array) -> float:
    return credit_flat(table, w) + float(stats.norm.logpdf(w, 0, 10).sum())


def cancer(table: Array, w: Array) -> float:
    likelihood = bernoulli(-with_ones(table[:, 2:] / table[:, 2:].std(0)), table[:, 1], w)
    return likelihood + float(stats.norm.logpdf(w, 0, 10).sum())


DEFINITIONS: Mapping[str, tuple[str, Callable[[Array, Array], float]]] = {
    "sonar": ("sonar", centred),
    "ionosphere": ("ionosphere", centred),
    "credit": ("credit", credit),
    "credit-flat": ("credit", credit_flat),
    "cancer": ("cancer", cancer),
}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random table of each layout."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(2)
    for layout in DATASETS.values():
        parts = []
        for part in layout.ranges:
            values = rng.uniform(part.lowest, part.highest, size=(layout.rows, len(part.columns)))
            parts.append(np.rint(values) if part.whole else values)
        layout.write(np.column_stack(parts), folder)
    two_valued(folder, "sonar", 60, -1, 1)
    two_valued(folder, "ionosphere", 34, -1, 1)
    return folder


def two_valued(folder: Path, name: str, column: int, low: float, high: float) -> None:
    table = DATASETS[name].read(folder)
    table[:, column] = np.where(table[:, column] > 0, high, low)
    DATASETS[name].write(table, folder, force=True)


def check_definition(name: str, folder: Path) -> None:
    data, expected = DEFINITIONS[name]
    table, target = DATASETS[data].read(folder), build(name, folder)
    w = np.random.default_rng(3).normal(size=(4, target.dim)) * 0.3
    np.testing.assert_allclose(target.log_density(torch.from_numpy(w)), [expected(table, at) for at in w], rtol=1e-10)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_regressions_are_defined_as_in_the_literature(name: str, made_up: Path) -> None:
    check_definition(name, made_up)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFINITIONS)
def test_also_on_the_real_data(name: str) -> None:
    """Ionosphere has a column that is constant."""
    check_definition(name, data_folder())


@pytest.mark.parametrize("name", FROM_FILES)
def test_dimensions(name: str, made_up: Path) -> None:
    assert build(name, made_up).dim == FROM_FILES[name]


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name not in FROM_FILES])
def test_reference_values_of_what_ships_are_those_of_the_targets(name: str) -> None:
    known = BENCHMARKS[name].reference_log_z
    assert build(name).log_z == (None if known is None else pytest.approx(known, abs=1e-4))


def test_no_published_elbo_is_above_the_reference() -> None:
    for benchmark in BENCHMARKS.values():
        for each in benchmark.published:
            assert benchmark.reference_log_z is not None
            assert each.elbo < benchmark.reference_log_z
    assert (BENCHMARKS["seeds"].published_elbo, BENCHMARKS["seeds"].published_by) == (-73.418, "Gaussian mixture prior")
    assert (BENCHMARKS["funnel"].published_elbo, BENCHMARKS["funnel"].published_by) == (None, "")


@pytest.mark.parametrize("name", FROM_FILES)
def test_missing_data_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"\w+\.csv is needed and GEPHYRA_DATA is not set: .*gephyra data fetch "):
        build(name)
    with pytest.raises(MissingData, match=rf"\w+\.csv is needed and not in {tmp_path}: set GEPHYRA_DATA"):
        build(name, tmp_path)


def test_unknown_names_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownBenchmark, match="no benchmark 'seed'; there are seeds, sonar, "):
        build("seed")
    (tmp_path / "sonar.csv").write_text("x0,label\n1,1\n")
    with pytest.raises(InvalidArgument, match=r"the first line must be x0,x1,x2,\.\.,label"):
        build("sonar", tmp_path)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", ["sonar", "ionosphere", "credit", "credit-flat"])
def test_reference_log_z_by_importance_sampling(name: str) -> None:
    """A t proposal, first at the mode, then fitted to its own weighted draws; drawn afresh for the estimate.

    The references are by NUTS and bridge sampling, SMC and AIS.
    """
    benchmark = BENCHMARKS[name]
    target = benchmark.build(data_folder())
    mean, covariance = at_the_mode(target)
    for seed in range(4):
        proposal = stats.multivariate_t(mean, covariance, df=30, seed=seed)
        draws = proposal.rvs(40_000)
        log_weight = target.log_density(torch.from_numpy(draws)).numpy() - proposal.logpdf(draws)
        weight = np.exp(log_weight - log_weight.max())
        mean = np.average(draws, axis=0, weights=weight)
        # The fewer draws count, the less the covariance follows them.
        trust = 1 / (1 + 10 * target.dim * (weight**2).sum() / weight.sum() ** 2)
        covariance = (1 - trust) * covariance + trust * np.cov(draws.T, aweights=weight)
    error = weight.std() / weight.mean() / math.sqrt(len(weight))
    assert error < 0.02
    difference = math.log(weight.mean()) + log_weight.max() - benchmark.reference_log_z
    assert abs(difference) < standard_errors() * math.hypot(error, benchmark.reference_se)


def at_the_mode(target: Target) -> tuple[Array, Array]:
    """The mode and the inverse of the negative Hessian there, by Newton's method from 0."""
    mode = torch.zeros(target.dim, dtype=torch.float64)
    for _ in range(20):
        hessian = torch.autograd.functional.hessian(lambda w: target.log_density(w[None])[0], mode)
        mode = mode - torch.linalg.solve(hessian, target.log_density_and_score(mode[None])[1][0])
    return mode.numpy(), torch.linalg.inv(-hessian).numpy()
