"""A data set modelled from Python and from the command line, on a server of one's own: the whole way."""

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gephyra.clients import catalogue, errors
from gephyra.clients.aio import AsyncClient
from gephyra.clients.capture import from_torch
from gephyra.clients.cli.app import app
from gephyra.clients.denoising import LEVELS, PREDICTIONS, SCHEDULES, WEIGHTINGS
from gephyra.clients.sync import Client, Dataset, SamplerHandle

TINY: dict[str, Any] = {"iterations": 40, "width": 16, "blocks": 1, "batch_size": 64, "solver_steps": 4}
# Of the covering array, where only the ways matter.
PASSING: dict[str, Any] = {**TINY, "iterations": 10, "validation": 0.0, "time_steps": None}


def people(count: int = 300, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    sign = generator.choice([-1.0, 1.0], (count, 1))
    return np.array(sign * [2.0, 1.0] + 0.3 * generator.standard_normal((count, 2)))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client.local(tmp_path_factory.mktemp("models") / "data") as client:
        yield client


@pytest.fixture(scope="module")
def dataset(client: Client) -> Dataset:
    return client.upload(people(), "people", columns=["height", "weight"])


@pytest.fixture(scope="module")
def sampler(client: Client, dataset: Dataset) -> SamplerHandle:
    job = client.train(dataset, method="denoising", prediction="velocity", weighting="elbo", schedule="cosine", **TINY)
    return job.result(progress=False)


def test_draws_have_the_columns_as_sites(client: Client, sampler: SamplerHandle) -> None:
    draws = sampler.draw(20, seed=1)
    assert draws.x.shape == (20, 2)
    assert {name: values.shape for name, values in draws.sites.items()} == {"height": (20,), "weight": (20,)}
    assert np.array_equal(draws.sites["weight"], draws.x[:, 1])
    assert not draws.weighted
    assert draws.evidence is None
    assert draws.ess == pytest.approx(20)
    assert not draws.log_weights.any()
    assert ("weights", "equal") in draws.rows()
    assert sampler.draw(20, seed=1, sites=False).sites == {}
    # A listing leaves out the columns.
    (listed,) = client.samplers()
    assert listed.draw(20, seed=1).sites.keys() == draws.sites.keys()
    assert np.array_equal(sampler.draw(20, seed=1, solver="dpm-solver", solver_steps=4).x, draws.x)
    assert not np.array_equal(sampler.draw(20, seed=1, solver="heun").x, draws.x)
    with pytest.raises(errors.InvalidArgument, match="dpm-solver"):
        sampler.draw(20, solver="rk4")


def test_draws_go_to_arviz_by_column(sampler: SamplerHandle) -> None:
    arviz = pytest.importorskip("arviz")
    made = sampler.draw(20, seed=1).to_arviz()
    assert arviz.summary(made, kind="stats").index.tolist() == ["height", "weight"]
    assert made.attrs["weights"] == "equal"


@pytest.mark.slow
def test_likelihoods_are_of_rows_and_of_data_sets(sampler: SamplerHandle, dataset: Dataset) -> None:
    by_name, by_handle, by_rows = (sampler.nll(data) for data in ("people", dataset, people()))
    assert by_name.elbo == by_handle.elbo == by_rows.elbo
    assert by_rows.flow is not None
    assert by_rows.flow_nats is not None
    assert np.allclose(sampler.log_prob(people()), -by_rows.flow_nats, atol=1e-3)
    assert sampler.log_prob(people(1)[0]).shape == (1,)
    many = people(2100, seed=1)
    assert np.allclose(sampler.log_prob(many)[2000:], sampler.log_prob(many[2000:]), atol=1e-3)
    # Of another 300 rows of the same law: the same within what chance does.
    other = sampler.nll(people(seed=2))
    assert abs(other.elbo.nats - by_rows.elbo.nats) < 5 * np.hypot(
        other.elbo.standard_error, by_rows.elbo.standard_error
    )
    assert "nats" in str(by_rows)
    assert "<table>" in by_rows._repr_html_()


def test_columns_go_by_their_names(client: Client, sampler: SamplerHandle) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(people(), columns=["height", "weight"])
    turned = table[["weight", "height"]]
    assert np.array_equal(sampler.log_prob(turned), sampler.log_prob(people()))
    assert sampler.nll(turned.assign(name=0.0)).elbo == sampler.nll(people()).elbo
    with pytest.raises(errors.InvalidArgument, match="expected the columns height, weight"):
        sampler.nll(table[["height"]])
    client.upload(turned, "turned-people", progress=False)
    with pytest.raises(errors.InvalidArgument, match="in the model's order, height, weight"):
        sampler.nll("turned-people")
    with pytest.raises(errors.InvalidArgument, match="row 1, column weight: expected a finite number") as caught:
        sampler.log_prob([[0.0, 0.0], [0.0, np.nan]])
    assert caught.value.reason == "DATA_NOT_FINITE"


def test_a_model_says_what_it_is(sampler: SamplerHandle, dataset: Dataset) -> None:
    report = sampler.report
    assert report is not None
    assert (report.rows_trained, report.dim, report.discrete, report.steps) == (270, 2, False, 40)
    assert report.validation is not None
    assert (sampler.dataset, sampler.target, sampler.dim) == (dataset.name, "", 2)
    assert sampler.options["method"] == "denoising"
    assert "NLL, held out" in repr(sampler)
    assert "of a Gaussian" in sampler._repr_html_()
    json.dumps(sampler.to_json())
    with pytest.raises(errors.FailedPrecondition, match="nll") as caught:
        sampler.evidence()
    assert caught.value.reason == "SAMPLER_UNSUITED"
    with pytest.raises(errors.FailedPrecondition, match="needed by"):
        dataset.delete()


def test_a_model_moves_through_a_file(client: Client, sampler: SamplerHandle, tmp_path: Path) -> None:
    loaded = client.load(sampler.save(tmp_path / "people.gephyra"))
    assert loaded.name != sampler.name
    assert (loaded.dataset, loaded.options, loaded.report) == (sampler.dataset, sampler.options, sampler.report)
    assert np.array_equal(loaded.draw(5, seed=2).x, sampler.draw(5, seed=2).x)
    loaded.delete()
    with Client.local(tmp_path / "elsewhere") as other:
        moved = other.load(tmp_path / "people.gephyra")
        assert (moved.of_data, moved.dataset, moved.sites) == (True, "", sampler.sites)
        assert moved.draw(5, seed=2).sites.keys() == {"height", "weight"}
        assert not moved.draw(5, seed=2).weighted
        with pytest.raises(errors.FailedPrecondition, match="nll"):
            moved.evidence()
        json.dumps(moved.to_json())


def test_a_model_is_a_target(client: Client, sampler: SamplerHandle) -> None:
    target = client.register(sampler, "people-model")
    assert (target.log_z, target.dim) == (0.0, 2)
    assert np.allclose(target.evaluate(people(5)).log_density, sampler.log_prob(people(5)), atol=5e-2)
    result = CliRunner().invoke(
        app, ["targets", "add-model", sampler.name, "--name", "people-model", "--json", "--server", client.address]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["digest"] == target.digest
    target.delete()


def test_the_asyncio_client_does_the_same(client: Client, sampler: SamplerHandle) -> None:
    async def twin() -> tuple[np.ndarray, float]:
        async with AsyncClient(client.address) as other:
            handle = await other.sampler(sampler.name)
            found = await handle.nll(people(), seed=3, draws=2)
            return (await handle.draw(5, seed=2)).x, found.elbo.nats

    x, nats = asyncio.run(twin())
    assert np.array_equal(x, sampler.draw(5, seed=2).x)
    assert nats == sampler.nll(people(), seed=3, draws=2).elbo.nats


def test_the_command_line_trains_draws_and_judges(client: Client, dataset: Dataset, tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(app, [*arguments, "--json", "--server", client.address])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    words = ["--iterations", "20", "--width", "16", "--blocks", "1", "--prediction", "data"]
    trained = run("train", "--dataset", "people", "--method", "denoising", *words)
    assert (trained["dataset"], trained["steps"]) == ("datasets/people", 20)
    out = tmp_path / "draws.npz"
    run("draw", trained["sampler"], "-n", "7", "--solver", "ddim", "--solver-steps", "3", "--out", str(out))
    assert set(np.load(out)) == {"x", "log_weights", "site.height", "site.weight"}
    found = run("nll", trained["sampler"], "people", "--draws", "2")
    assert found["elbo"]["rows"] == 300
    swapped = tmp_path / "rows.csv"
    np.savetxt(swapped, people(5)[:, ::-1], delimiter=",", header="weight,height", comments="")
    densities = run("log-prob", trained["sampler"], str(swapped))["log_prob"]
    assert np.allclose(densities, client.sampler(trained["sampler"]).log_prob(people(5)))
    result = CliRunner().invoke(app, ["evidence", trained["sampler"], "--server", client.address])
    assert result.exit_code == 4
    assert "nll" in result.stderr
    client.sampler(trained["sampler"]).delete()


def two_modes(x: Any) -> Any:
    """The log density of `people`, up to a constant."""
    import torch

    means = torch.tensor([[2.0, 1.0], [-2.0, -1.0]], dtype=x.dtype)
    return torch.logsumexp(-0.5 * ((x - means) / 0.3).square().sum(-1), 0)


@pytest.mark.slow
def test_rows_that_are_draws_of_a_captured_target(client: Client, dataset: Dataset) -> None:
    """From both clients and the command line; how the target is named makes no difference."""
    target = client.register(from_torch(two_modes, 2), "two-modes")
    made = client.train(dataset, score_of=target, **TINY).result(progress=False)
    assert made.report is not None
    assert made.report.target_evaluations == 300
    assert not any("independent draws" in warning for warning in made.report.warnings)
    assert ("scores", "of a target, at 300 rows") in made.report.rows()
    assert (made.target, made.dataset) == ("", dataset.name)

    async def twin() -> Any:
        async with AsyncClient(client.address) as other:
            job = await other.train("people", "denoising", score_of=await other.target("two-modes"), **TINY)
            assert job.options["score_of"] == "targets/two-modes"
            assert ("score of", "targets/two-modes") in job.rows()
            return (await job.result(progress=False)).report

    # Seconds differ.
    again = asyncio.run(twin())
    assert (again.loss, again.validation) == (made.report.loss, made.report.validation)
    words = ["--iterations", "20", "--width", "16", "--blocks", "1", "--score-of", "two-modes"]
    arguments = ["train", "--dataset", "people", *words, "--json", "--server", client.address]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["target_evaluations"] == 300
    with pytest.raises(errors.NotFound, match="targets/no-such-target"):
        client.train(dataset, score_of="no-such-target", **TINY)
    with pytest.raises(errors.InvalidArgument, match="of dimension 2") as caught:
        client.train(dataset, score_of=client.register(catalogue("gaussian", dim=3)), **TINY)
    assert caught.value.field == "denoising.score_of"


def covering(tables: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Rows in which every pair of words of two tables occurs: greedily, the word that brings most new pairs."""
    columns = range(len(tables))
    missing = {(i, a, j, b) for i, j in itertools.combinations(columns, 2) for a in tables[i] for b in tables[j]}

    def best(row: dict[int, str], column: int) -> str:
        def new(word: str) -> int:
            pairs = [(i, a, column, word) if i < column else (column, word, i, a) for i, a in row.items()]
            return sum(pair in missing for pair in pairs)

        return max(tables[column], key=new)

    rows = []
    while missing:
        i, a, j, b = min(missing)
        row = {i: a, j: b}
        for column in columns:
            if column not in row:
                row[column] = best(row, column)
        missing -= {(i, row[i], j, row[j]) for i, j in itertools.combinations(columns, 2)}
        rows.append(tuple(row[column] for column in columns))
    return rows


TABLES = [list(words) for words in (PREDICTIONS, WEIGHTINGS, SCHEDULES, LEVELS)]
ROWS = covering(TABLES)


def test_the_rows_cover_every_pair() -> None:
    for i, j in itertools.combinations(range(len(TABLES)), 2):
        assert {(row[i], row[j]) for row in ROWS} == set(itertools.product(TABLES[i], TABLES[j]))


@pytest.mark.slow
def test_every_pair_of_choices_trains_through_the_service(client: Client, dataset: Dataset) -> None:
    """Each row one job; a worker's start is most of its time."""
    jobs = [
        client.train(dataset, prediction=row[0], weighting=row[1], schedule=row[2], levels=row[3], **PASSING)
        for row in ROWS
    ]
    for row, job in zip(ROWS, jobs, strict=True):
        sampler = job.result(progress=False)
        assert tuple(sampler.options[name] for name in ("prediction", "weighting", "schedule", "levels")) == row
        assert np.isfinite(sampler.draw(8).x).all(), row
        assert np.isfinite(sampler.nll(people(20)).elbo.nats), row
        sampler.delete()
