"""Where each data set comes from: OpenML and scikit-learn, tables that ship, or a file of the user's.

OpenML's German credit is the original with words; the literature uses the numeric version that Strathclyde
University made of it for Statlog. The coding below gives that version's counts in every column.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArgument, Unavailable
from .layout import Dataset, dataset, file_text

__all__ = ["OpenML", "ScikitLearn", "Table", "fetch"]

_Array = NDArray[np.float64]
_SONAR, _IONOSPHERE, _CREDIT = 40, 59, 31
"""Ids at OpenML."""


@dataclass(frozen=True, slots=True)
class Table:
    """Features by name, numbers or words, and a label a row, a word."""

    features: Mapping[str, NDArray[np.float64] | NDArray[np.str_]]
    labels: NDArray[np.str_]


class OpenML(Protocol):
    """What `fetch` asks of the world: a table of openml.org, and the table that scikit-learn carries."""

    def table(self, data_id: int) -> Table:
        """The data set of this id. Raises Unavailable if it cannot be had now."""

    def cancer(self) -> tuple[_Array, _Array]:
        """Features, 569 x 30, and labels, (569,), of the breast cancer data."""


@dataclass(frozen=True, slots=True)
class ScikitLearn(OpenML):
    """Both by scikit-learn, which keeps what it downloads in its own cache."""

    cache: Path | None = None
    """Folder of the cache; None: scikit-learn's default."""

    def table(self, data_id: int) -> Table:
        datasets = _sklearn_datasets()
        try:
            with warnings.catch_warnings():
                # What becomes of the second attempt is said below.
                warnings.filterwarnings("ignore", message="A network error occurred")
                got = datasets.fetch_openml(
                    data_id=data_id,
                    n_retries=1,  # the least it takes
                    data_home=None if self.cache is None else str(self.cache),
                    as_frame=False,
                    parser="liac-arff",  # the other one needs pandas
                )
        except (OSError, ValueError) as error:  # it answers an unknown or withdrawn id with a ValueError
            sentence = f"openml.org did not give data set {data_id} ({error}); check the connection and try again"
            raise Unavailable(sentence, reason="OPENML_UNAVAILABLE") from error
        columns = dict(zip(got.feature_names, np.asarray(got.data, dtype=np.float64).T, strict=True))
        categories = {name: words for name, words in (got.categories or {}).items() if name in columns}
        words = {name: _decoded(columns[name], known) for name, known in categories.items()}
        return Table(columns | words, np.asarray(got.target, dtype=np.str_))

    def cancer(self) -> tuple[_Array, _Array]:
        features, labels = _sklearn_datasets().load_breast_cancer(return_X_y=True)
        return np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.float64)


def fetch(name: str, online: OpenML, from_file: Path | None = None) -> _Array:
    """The table of a data set, checked against its layout.

    Args:
        name: A name of DATASETS.
        online: Where to get what does not ship.
        from_file: Take a file of that layout instead; pines come in no other way.

    Raises:
        NotFound: For another name.
        FileNotFoundError: If there is no such file.
        InvalidArgument: For pines without a file, or a table that is not as expected.
        Unavailable: If openml.org does not answer.
        ImportError: If scikit-learn is needed and missing.
    """
    layout = dataset(name)
    if from_file is not None:
        return layout.parsed(file_text(from_file), str(from_file))
    source, made = _SOURCES[name]
    try:
        return layout.checked(made(layout, online), source)
    except KeyError as error:
        raise InvalidArgument(f"{source}: {name} has no column or word {error}", reason="DATA_INVALID") from error


def _sklearn_datasets() -> "_Datasets":
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("this data set comes through scikit-learn: pip install 'gephyra[data]'") from error
    typed: _Datasets = datasets
    return typed


class _Datasets(Protocol):
    """The two functions of scikit-learn, which ships no types."""

    fetch_openml: Callable[..., "_Bunch"]
    load_breast_cancer: Callable[..., tuple[object, object]]


class _Bunch(Protocol):
    data: object
    target: object
    feature_names: list[str]
    categories: Mapping[str, list[str]] | None


def _decoded(codes: _Array, words: list[str]) -> NDArray[np.str_]:
    """The words of codes; an empty one where the code is NaN, that is missing."""
    return np.array([words[int(code)] if code == code else "" for code in codes.tolist()], dtype=np.str_)


def _coded(words: NDArray[np.float64] | NDArray[np.str_], codes: Mapping[str, float]) -> _Array:
    """The codes of words. Raises KeyError for a word without one."""
    return np.array([codes[str(word).strip()] for word in words], dtype=np.float64)


def _numbers(table: Table) -> _Array:
    """Every feature, rows x columns, in the order of the source."""
    return np.column_stack([np.asarray(column, dtype=np.float64) for column in table.features.values()])


def _sonar(layout: Dataset, online: OpenML) -> _Array:
    table = online.table(_SONAR)
    raw = _numbers(table)
    lowest, highest = raw.min(0), raw.max(0)
    scaled = 2 * (raw - lowest) / (highest - lowest) - 1
    # The published scaling kept six significant digits.
    rounded = np.array([[float(f"{value:.6g}") for value in row] for row in scaled.tolist()])
    return np.column_stack([rounded, _coded(table.labels, {"Rock": 1, "Mine": -1})])


def _ionosphere(layout: Dataset, online: OpenML) -> _Array:
    table = online.table(_IONOSPHERE)
    return np.column_stack([_numbers(table), _coded(table.labels, {"g": 1, "b": -1})])


def _cancer(layout: Dataset, online: OpenML) -> _Array:
    """The ids of the patients are not in scikit-learn's copy: rows are numbered instead."""
    features, labels = online.cancer()
    return np.column_stack([np.arange(1, len(labels) + 1), labels, features])


def _shipped(layout: Dataset, online: OpenML) -> _Array:
    text = (files("gephyra.clients.datasets") / layout.file).read_text(encoding="utf-8")
    return layout.parsed(text, layout.file)


def _pines(layout: Dataset, online: OpenML) -> _Array:
    sentence = f"{layout.name} can be had from no source that we know of: give a file with --from-file PATH"
    raise InvalidArgument(sentence, reason="DATA_INVALID")


def _credit(layout: Dataset, online: OpenML) -> _Array:
    table = online.table(_CREDIT)
    columns = []
    for name, words in _CREDIT_COLUMNS:
        column = table.features[name]
        if words is None:
            columns.append(np.asarray(column, dtype=np.float64))
        else:
            columns.append(_coded(column, words))
    columns[_CREDIT_AMOUNT] = np.rint(columns[_CREDIT_AMOUNT] / 100)  # halves to even, as there
    return np.column_stack([*columns, _coded(table.labels, {"good": 1, "bad": 2})])


def _in_order(*words: str, first: int = 1) -> Mapping[str, float]:
    return {word: float(code) for code, word in enumerate(words, first)}


def _is(word: str, *others: str) -> Mapping[str, float]:
    return {word: 1.0} | dict.fromkeys(others, 0.0)


_PURPOSES = (
    "furniture/equipment", "radio/tv", "domestic appliance", "repairs", "education", "vacation", "retraining",
    "business", "other",
)  # fmt: skip
_JOBS = ("unemp/unskilled non res", "unskilled resident", "skilled", "high qualif/self emp/mgmt")
_CREDIT_AMOUNT = 3
_CREDIT_COLUMNS: tuple[tuple[str, Mapping[str, float] | None], ...] = (
    ("checking_status", _in_order("<0", "0<=X<200", ">=200", "no checking")),
    ("duration", None),
    ("credit_history", _in_order("no credits/all paid", "all paid", "existing paid", "delayed previously",
                                 "critical/other existing credit", first=0)),
    ("credit_amount", None),
    ("savings_status", _in_order("<100", "100<=X<500", "500<=X<1000", ">=1000", "no known savings")),
    ("employment", _in_order("unemployed", "<1", "1<=X<4", "4<=X<7", ">=7")),
    ("personal_status", _in_order("male div/sep", "female div/dep/mar", "male single", "male mar/wid",
                                  "female single")),
    ("residence_since", None),
    ("property_magnitude", _in_order("real estate", "life insurance", "car", "no known property")),
    ("age", None),
    ("other_payment_plans", _in_order("bank", "stores", "none")),
    ("existing_credits", None),
    ("num_dependents", None),
    ("own_telephone", _in_order("none", "yes")),
    ("foreign_worker", _in_order("yes", "no")),
    ("purpose", _is("new car", "used car", *_PURPOSES)),
    ("purpose", _is("used car", "new car", *_PURPOSES)),
    ("other_parties", _is("none", "co applicant", "guarantor")),
    ("other_parties", _is("co applicant", "none", "guarantor")),
    ("housing", _is("rent", "own", "for free")),
    ("housing", _is("own", "rent", "for free")),
    ("job", _is(_JOBS[0], *_JOBS[1:])),
    ("job", _is(_JOBS[1], *_JOBS[:1], *_JOBS[2:])),
    ("job", _is(_JOBS[2], *_JOBS[:2], *_JOBS[3:])),
)  # fmt: skip

_SOURCES: Mapping[str, tuple[str, Callable[[Dataset, OpenML], _Array]]] = MappingProxyType(
    {
        "sonar": (f"openml.org, id {_SONAR}", _sonar),
        "ionosphere": (f"openml.org, id {_IONOSPHERE}", _ionosphere),
        "credit": (f"openml.org, id {_CREDIT}", _credit),
        "cancer": ("scikit-learn", _cancer),
        "seeds": ("gephyra", _shipped),
        "brownian": ("gephyra", _shipped),
        "pines": ("a file", _pines),
    }
)
