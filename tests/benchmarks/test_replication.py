"""The replication runs what it says: the paper's starts, what is frozen stays, every run is counted."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks import replication
from benchmarks.data import BENCHMARKS
from benchmarks.paper import FIGURES, LOSSES, STARTS, Cell, bridge_of, settings_of
from benchmarks.replication import Row, run, table
from gephyra.samplers.noise import NoiseSource
from gephyra.samplers.optimise import Optimiser
from gephyra.samplers.overdamped import OverdampedBridge
from gephyra.samplers.settings import Method
from gephyra.samplers.simulate import simulate

SEEDS = BENCHMARKS["seeds"].build()
ROW = Row("seeds", "cmcd", True, "lv", 0, 500, "lv", 10.0, -90.0, -76.0, -75.0, -73.5, 0.1, 0)


def bridge(cell: Cell) -> OverdampedBridge:
    return bridge_of(SEEDS.dim, STARTS[cell], settings_of(cell, STARTS[cell], 10, 0))


@pytest.mark.parametrize("cell", STARTS, ids=lambda cell: "-".join(map(str, cell)))
def test_a_bridge_starts_where_the_paper_starts(cell: Cell) -> None:
    built, start = bridge(cell), STARTS[cell]
    torch.testing.assert_close(built.diffusion(), torch.full((built.steps, SEEDS.dim), start.step_scale))
    torch.testing.assert_close(built.prior.spread(), torch.full((SEEDS.dim,), start.prior_scale))
    torch.testing.assert_close(built.prior.centre(), torch.zeros(SEEDS.dim))
    assert built.mirrored == (cell.method is Method.CMCD) == (built.backward_control is None)


def test_an_untrained_dbs_bridge_is_a_random_walk() -> None:
    """No fixed drift and no control yet: both chains are N(x, s^2), so they agree on every step."""
    built = bridge(Cell("seeds", Method.DBS, True, "rkl-ld"))
    with torch.no_grad():
        noise = NoiseSource(0, 0).normal((built.noise_rows, 8, built.dim))
        path = simulate(built, SEEDS, noise)
        parts = built.increments(path, 0, built.steps)
    torch.testing.assert_close(path.state[1:] - path.state[:-1], 0.1 * noise[1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(parts.forward, parts.backward)


@pytest.mark.parametrize("method", [Method.CMCD, Method.DBS])
@pytest.mark.parametrize("learned", [True, False])
def test_what_is_frozen_stays_and_the_rest_moves(method: Method, learned: bool) -> None:
    """Frozen is the diffusion alone; beta is learned with CMCD; steps stay of equal length."""
    cell = Cell("seeds", method, learned, "rkl-ld")
    settings = settings_of(cell, STARTS[cell], 10, 0)
    trained, before = bridge(cell), bridge(cell).state_dict()
    Optimiser(trained, LOSSES["rkl-ld"].make(), settings).advance(SEEDS, 0.0)
    moved = {name for name, value in trained.state_dict().items() if not torch.equal(value, before[name])}
    assert ("diffusion.log_sigma" in moved) == learned
    assert ("annealing.raw_increments" in moved) == (method is Method.CMCD)
    assert "diffusion.raw_time" not in moved
    assert {"prior.mean", "prior.log_scale"} <= moved


def test_the_published_estimator_lacks_the_shared_term_alone() -> None:
    """Controls of DBS are in one chain each: their gradients agree. Diffusion and prior are where the forms differ."""
    plain, shared = (gradients(loss) for loss in ("rkl-ld", "rkl-ld-shared"))
    differ = {name for name in plain if not torch.allclose(plain[name], shared[name], rtol=1e-4, atol=1e-6)}
    assert differ == {"diffusion.log_sigma", "prior.mean", "prior.log_scale"}


def gradients(loss: str) -> dict[str, Tensor]:
    built = bridge(Cell("seeds", Method.DBS, True, "rkl-ld"))
    LOSSES[loss].make().gradient(built, SEEDS, NoiseSource(0, 0), 16)
    return {name: value.grad for name, value in built.named_parameters() if value.grad is not None}


def test_a_run_is_trained_and_measured_once() -> None:
    cell = Cell("seeds", Method.CMCD, False, "rkl-ld")
    few, more = run(cell, 1, 0), run(cell, 25, 0)
    assert few.first_elbo == more.first_elbo
    assert few.elbo is not None
    assert more.elbo is not None
    assert few.elbo < more.elbo < -73.406
    assert few.best_elbo is None
    assert not more.diverged
    assert more == replace(run(cell, 25, 0), seconds=more.seconds)


def test_a_run_may_start_as_another_loss() -> None:
    """Then the untrained bridge is that loss' own, paths and all."""
    frozen = [Cell("seeds", Method.CMCD, False, loss) for loss in ("rkl-r", "lv")]
    own, other, there = run(frozen[0], 1, 0), run(frozen[0], 1, 0, "lv"), run(frozen[1], 1, 0)
    assert (own.starts_as, other.starts_as) == ("rkl-r", "lv")
    assert other.first_elbo == pytest.approx(there.first_elbo, rel=1e-5)
    assert own.first_elbo != pytest.approx(there.first_elbo, rel=1e-2)


def test_a_run_without_finite_paths_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "_log_weights", lambda *given: torch.full((64,), -math.inf).double())
    failed = run(Cell("seeds", Method.CMCD, True, "lv"), 1, 0)
    assert (failed.elbo, failed.log_z, failed.ess_fraction, failed.non_finite_paths) == (None, None, None, 64)


@pytest.mark.parametrize(
    ("elbo", "best", "diverged"),
    [(-82.9, -76.0, False), (-83.1, -76.0, True), (-89.0, -95.0, False), (-91.0, -95.0, True)],
)
def test_a_run_that_loses_half_its_gain_or_ends_below_its_start_diverged(
    elbo: float, best: float, diverged: bool
) -> None:
    assert replace(ROW, elbo=elbo, best_elbo=best).diverged == diverged


def test_every_run_is_counted() -> None:
    failed = Row("seeds", "cmcd", True, "lv", 1, 500, "lv")
    rows = [ROW, failed, replace(ROW, seed=2, elbo=-77.0, log_z=-73.3), replace(ROW, loss="rkl-r", elbo=-95.0)]
    *_, cell, other = table(rows)
    assert (
        cell
        == "| seeds | cmcd | learned | lv | -76.00 +- 1.00 | 0.01 +- 0.10 | 0.100 +- 0.000 | 3, 1 failed | -73.53 |"
    )
    assert other == "| seeds | cmcd | learned | rkl-r | -95.00 | -0.09 | 0.100 | 1, 1 diverged |  |"
    assert table([failed])[-1] == "| seeds | cmcd | learned | lv | none | none | none | 1, 1 failed | -73.53 |"


def test_every_figure_of_the_paper_is_replicated() -> None:
    assert set(FIGURES) < set(STARTS)
    assert {cell.loss for cell in STARTS} == {loss.starts_as for loss in LOSSES.values()}


@pytest.mark.slow
def test_the_command_prints_rows_as_one_list(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--targets", "seeds", "--seeds", "3", "--methods", "cmcd", "--diffusion", "learned", "--losses", "lv"]
    monkeypatch.setattr("sys.argv", ["replication", *words, "--iterations", "1", "--json"])
    replication.main()
    output = capfd.readouterr()
    (record,) = json.loads(output.out)
    row, expected = Row(**record), run(Cell("seeds", Method.CMCD, True, "lv"), 1, 3)
    # The child has one thread, this process as many as it likes: the last bits differ.
    assert row.elbo == pytest.approx(expected.elbo, rel=1e-4)
    assert (row.seed, row.iterations, row.loss) == (3, 1, "lv")
    assert "| seeds | cmcd | learned | lv |" in output.err
