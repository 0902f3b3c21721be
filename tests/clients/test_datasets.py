"""Data sets as files: layouts, where tables come from (by a scripted source, never the network), and the commands."""

import json
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import datasets as sklearn_datasets
from typer.testing import CliRunner

from gephyra.clients.cli.app import app
from gephyra.clients.datasets import DATASETS, ScikitLearn, Table, fetch
from gephyra.clients.errors import AlreadyExists, InvalidArgument, NotFound, Unavailable
from gephyra.targets.brownian import OBSERVATIONS, OBSERVED
from gephyra.targets.seeds import ROWS
from tests.support.datasets import data_folder

Array = NDArray[np.float64]


@dataclass
class Scripted:
    """A source that hands out the tables it was given."""

    tables: dict[int, Table] = field(default_factory=dict)

    def table(self, data_id: int) -> Table:
        return self.tables[data_id]

    def cancer(self) -> tuple[Array, Array]:
        return np.ones((3, 30)), np.zeros(3)


RNG = np.random.default_rng(5)
RAW = RNG.uniform(0, 1, size=(208, 60))
SONAR = Table({f"a{i}": RAW[:, i] for i in range(60)}, np.array(["Rock"] * 97 + ["Mine"] * 111))
IONOSPHERE = Table({f"a{i}": RNG.uniform(-1, 1, 351) for i in range(34)}, np.array(["g", "b", "g"] * 117))
# The first two customers and, in the last column of words, what the documentation of the data says of them.
CREDIT_WORDS: dict[str, tuple[str | float, str | float]] = {
    "checking_status": ("<0", "0<=X<200"),
    "duration": (6, 48),
    "credit_history": ("critical/other existing credit", "existing paid"),
    "purpose": ("radio/tv", "used car"),
    "credit_amount": (1169, 250),
    "savings_status": ("no known savings", "<100"),
    "employment": (">=7", "1<=X<4"),
    "installment_commitment": (4, 2),
    "personal_status": ("male single", "female div/dep/mar"),
    "other_parties": ("none", "co applicant"),
    "residence_since": (4, 2),
    "property_magnitude": ("real estate", "car"),
    "age": (67, 22),
    "other_payment_plans": ("none", "bank"),
    "housing": ("own", "rent"),
    "existing_credits": (2, 1),
    "job": ("skilled", "unskilled resident"),
    "num_dependents": (1, 2),
    "own_telephone": ("yes", "none"),
    "foreign_worker": ("yes", "no"),
}
CREDIT_CODES = (
    [1, 6, 4, 12, 5, 5, 3, 4, 1, 67, 3, 2, 1, 2, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1],
    [2, 48, 2, 2, 1, 3, 2, 2, 3, 22, 1, 1, 2, 1, 2, 0, 1, 0, 1, 1, 0, 0, 1, 0, 2],
)
CREDIT = Table(
    {name: np.array([values[i % 2] for i in range(1000)]) for name, values in CREDIT_WORDS.items()},
    np.array(["good", "bad"] * 500),
)
SCRIPTED = Scripted({40: SONAR, 59: IONOSPHERE, 31: CREDIT})


def test_sonar_is_scaled_to_minus_one_and_one_in_each_column() -> None:
    table = fetch("sonar", SCRIPTED)
    np.testing.assert_array_equal(table[:, :60].min(0), -1)
    np.testing.assert_array_equal(table[:, :60].max(0), 1)
    np.testing.assert_allclose(np.corrcoef(table[:, 7], RAW[:, 7])[0, 1], 1)
    assert (table[:97, 60] == 1).all()
    assert (table[97:, 60] == -1).all()


def test_ionosphere_keeps_its_columns() -> None:
    table = fetch("ionosphere", SCRIPTED)
    np.testing.assert_array_equal(table[:, 3], IONOSPHERE.features["a3"])
    np.testing.assert_array_equal(table[:3, 34], [1, -1, 1])


def test_credit_is_coded_as_in_the_numeric_version() -> None:
    np.testing.assert_array_equal(fetch("credit", SCRIPTED)[:2], CREDIT_CODES)


def test_shipped_tables_are_those_of_the_targets() -> None:
    np.testing.assert_array_equal(fetch("seeds", SCRIPTED), ROWS)
    times, values = fetch("brownian", SCRIPTED).T
    seen = ~np.isnan(values)
    np.testing.assert_array_equal(times[seen], OBSERVED)
    np.testing.assert_array_equal(values[seen], OBSERVATIONS)


def test_cancer_comes_with_scikit_learn() -> None:
    table = fetch("cancer", ScikitLearn())
    assert DATASETS["cancer"].same_as_reference(table)


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_the_files_of_the_data_folder_are_the_reference(name: str) -> None:
    layout = DATASETS[name]
    table = layout.read(data_folder())
    assert layout.same_as_reference(table)
    assert not layout.same_as_reference(np.where(np.arange(table.size).reshape(table.shape) == 1, 3.5, table))
    assert layout.same_as_reference(table[::-1])


@pytest.mark.slow
def test_written_cancer_has_the_values_of_the_data_folder(tmp_path: Path) -> None:
    layout = DATASETS["cancer"]
    layout.write(fetch("cancer", ScikitLearn()), tmp_path)
    np.testing.assert_array_equal(layout.read(tmp_path)[:, 1:], layout.read(data_folder())[:, 1:])


def refused(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)


def test_what_a_source_gets_wrong_is_said() -> None:
    short = Table({name: column[:9] for name, column in IONOSPHERE.features.items()}, IONOSPHERE.labels[:9])
    wide = Table({name: column * 9 for name, column in IONOSPHERE.features.items()}, IONOSPHERE.labels)
    words = Table(IONOSPHERE.features, np.array(["g", "q", "g"] * 117))
    cases = [
        (short, "id 59: ionosphere must have 351 x 35 (rows x columns), got 9 x 35"),
        (wide, "ionosphere must have numbers between -1 and 1 in x0 to x33, got -8.99"),
        (words, "openml.org, id 59: ionosphere has no column or word 'q'"),
    ]
    for table, message in cases:
        refused(partial(fetch, "ionosphere", Scripted({59: table})), InvalidArgument, message)
    refused(lambda: fetch("cancer", Scripted()), InvalidArgument, "scikit-learn: cancer must have 569 x 32")
    refused(lambda: fetch("pines", SCRIPTED), InvalidArgument, "give a file with --from-file")
    refused(lambda: fetch("pine", SCRIPTED), NotFound, "no data set 'pine'; there are cancer, seeds, brownian")


def test_files_of_another_layout_are_refused(tmp_path: Path) -> None:
    seeds, good = DATASETS["seeds"], DATASETS["seeds"].text(np.array(ROWS, dtype=float))
    cases = [
        ("", "the first line must be r,n,x1,x2, got"),
        (good.replace("r,n", "n,r"), "the first line must be r,n,x1,x2, got n,r,x1,x2"),
        (good.replace("10,39", "ten,39"), "every row must be 4 numbers"),
        (good.replace("10,39", "10"), "every row must be 4 numbers"),
        (good + "1,2,0,0\n", "seeds must have 21 x 4 (rows x columns), got 22 x 4"),
        (good.replace("10,39,0", "10,39,2"), "integers between 0 and 1 in x1 to x2, got 0 to 2"),
        (good.replace("10,39", "10.5,39"), "integers between 0 and 100 in r to n"),
        (good.replace("10,39", ",39"), "integers between 0 and 100 in r to n"),
    ]
    for text, message in cases:
        (tmp_path / "seeds.csv").write_text(text)
        refused(lambda: seeds.read(tmp_path), InvalidArgument, message)
    (tmp_path / "seeds.csv").write_bytes(b"\xff")
    refused(lambda: seeds.read(tmp_path), InvalidArgument, "is no text in UTF-8")
    refused(lambda: fetch("seeds", SCRIPTED, tmp_path / "seeds.csv"), InvalidArgument, "is no text in UTF-8")
    refused(lambda: seeds.read(tmp_path / "x"), FileNotFoundError, "to get it: gephyra data fetch seeds")


def test_a_table_survives_its_file_bit_by_bit(tmp_path: Path) -> None:
    for name in ("sonar", "ionosphere", "credit", "brownian"):
        table = fetch(name, SCRIPTED)
        DATASETS[name].write(table, tmp_path / "new")
        np.testing.assert_array_equal(DATASETS[name].read(tmp_path / "new"), table)


def test_a_file_with_other_content_is_replaced_only_by_force(tmp_path: Path) -> None:
    seeds, table = DATASETS["seeds"], np.array(ROWS, dtype=float)
    assert seeds.write(table, tmp_path)
    stamp = (tmp_path / "seeds.csv").stat().st_mtime_ns
    assert not seeds.write(table, tmp_path, force=True)
    assert (tmp_path / "seeds.csv").stat().st_mtime_ns == stamp
    for other in (seeds.text(table).replace("10,39", "11,39"), "something else", "\udcff"):
        (tmp_path / "seeds.csv").write_text(other, errors="surrogateescape")
        refused(lambda: seeds.write(table, tmp_path), AlreadyExists, "--force replaces it")
        assert (tmp_path / "seeds.csv").read_text(errors="surrogateescape") == other
        assert seeds.write(table, tmp_path, force=True)
        np.testing.assert_array_equal(seeds.read(tmp_path), table)
    assert [path.name for path in tmp_path.iterdir()] == ["seeds.csv"]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError("no space left on device")

    seeds = DATASETS["seeds"]
    (tmp_path / "seeds.csv").write_text("mine")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        seeds.write(np.array(ROWS, dtype=float), tmp_path, force=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def bunch(**arguments: Any) -> SimpleNamespace:
    """As fetch_openml gives it without pandas: words as positions in a list, NaN for a missing one."""
    assert arguments == {"data_id": 31, "n_retries": 1, "data_home": None, "as_frame": False, "parser": "liac-arff"}
    return SimpleNamespace(
        feature_names=["age", "job"],
        data=np.array([[67.0, 1.0], [22.0, 0.0], [49.0, np.nan]]),
        categories={"job": ["none", "skilled"], "class": ["good", "bad"]},
        target=np.array(["good", "bad", "good"], dtype=object),
    )


def test_words_of_openml_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sklearn_datasets, "fetch_openml", bunch)
    table = ScikitLearn().table(31)
    assert table.features["job"].tolist() == ["skilled", "none", ""]
    assert table.features["age"].tolist() == [67, 22, 49]
    assert table.labels.tolist() == ["good", "bad", "good"]


def test_without_a_network_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The warning of scikit-learn's second attempt, an error in this suite, stays inside."""

    def offline(request: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", offline)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    refused(lambda: ScikitLearn().table(40), Unavailable, "openml.org did not give data set 40 (")
    result = CliRunner().invoke(app, ["data", "fetch", "sonar", "--folder", str(tmp_path / "data")])
    assert result.exit_code == 5
    assert result.stderr.startswith("error: openml.org did not give data set 40")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    refused(lambda: fetch("cancer", ScikitLearn()), ImportError, "pip install 'gephyra[data]'")
    assert fetch("seeds", ScikitLearn()).shape == (21, 4)


def test_commands_write_and_list(tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["data", *arguments, "--folder", str(tmp_path)])

    assert "written" in run("fetch", "seeds", "cancer").stdout
    again = json.loads(run("fetch", "seeds", "cancer", "--json").stdout)
    assert [(entry["rows"], entry["written"], entry["as_reference"]) for entry in again] == [
        (21, False, True),
        (569, False, True),
    ]
    there = {entry["name"]: entry["there"] for entry in json.loads(run("list", "--json").stdout)}
    assert [name for name, is_there in there.items() if is_there] == ["cancer", "seeds"]
    assert "german_credit.csv" in run("list").stdout


def test_pines_come_from_a_file_and_say_if_they_are_others(tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("x,y\n" + "".join(f"{i / 200},{0.5}\n" for i in range(126)))
    arguments = ["data", "fetch", "pines", "--folder", str(tmp_path), "--from-file", str(mine)]
    assert "NO: published values" in " ".join(CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}).stdout.split())
    assert DATASETS["pines"].read(tmp_path).shape == (126, 2)
    both = CliRunner().invoke(app, [*arguments, "seeds"])
    assert both.exit_code == 2
    assert "--from-file gives one data set" in both.stderr
