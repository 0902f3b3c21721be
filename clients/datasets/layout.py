"""What the file of each data set looks like, and how it is read, checked and written."""

import csv
import io
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ..errors import AlreadyExists, InvalidArgument, NotFound, Violation

__all__ = ["DATASETS", "Dataset", "Range", "dataset", "file_text"]

_CLOSE = 1e-9
"""Relative difference of fingerprints below which two tables hold the same values."""


@dataclass(frozen=True, slots=True)
class Range:
    """The values that one column, or all columns of one kind, may take."""

    columns: tuple[str, ...]
    lowest: float
    highest: float
    whole: bool = False
    """Integers only."""
    gaps: bool = False
    """Values may be missing."""

    def violated(self, values: NDArray[np.float64]) -> bool:
        """Whether any of the values, any shape, is outside."""
        present = values[~np.isnan(values)]
        inside = (present >= self.lowest) & (present <= self.highest)
        missing = present.size < values.size and not self.gaps
        return missing or not inside.all() or (self.whole and bool((present != np.rint(present)).any()))

    def __str__(self) -> str:
        kind = "integers" if self.whole else "numbers"
        return f"{kind} between {self.lowest:g} and {self.highest:g}{' or nothing' if self.gaps else ''}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set and the layout of its file: a line of headings, then a line a row."""

    name: str
    file: str
    rows: int
    ranges: tuple[Range, ...]
    """Every column once, in the order of the file."""
    fingerprint: tuple[float, float]
    """Of the table on which reference values of log Z were computed: see `same_as_reference`."""
    origin: str
    """One phrase for people."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Headings of the file."""
        return tuple(column for part in self.ranges for column in part.columns)

    def checked(self, table: NDArray[np.float64], source: str) -> NDArray[np.float64]:
        """The table itself.

        Raises:
            InvalidArgument: For another shape or values outside the ranges; `source` says whose fault it is.
        """
        expected = (self.rows, len(self.columns))
        if table.shape != expected:
            raise _invalid(f"{source}: {self.name} must have {_size(expected)}, got {_size(table.shape)}")
        start = 0
        for part in self.ranges:
            values = table[:, start : start + len(part.columns)]
            if part.violated(values):
                names = part.columns[0] if len(part.columns) == 1 else f"{part.columns[0]} to {part.columns[-1]}"
                found = f"{np.nanmin(values):g} to {np.nanmax(values):g}" if np.isfinite(values).any() else "none"
                raise _invalid(f"{source}: {self.name} must have {part} in {names}, got {found}")
            start += len(part.columns)
        return table

    def same_as_reference(self, table: NDArray[np.float64]) -> bool:
        """Whether the rows, in any order, are those on which the reference values of log Z were computed."""
        return bool(np.allclose(self.summary(table), self.fingerprint, rtol=_CLOSE, atol=0))

    def summary(self, table: NDArray[np.float64]) -> tuple[float, float]:
        """Sum and sum of squares, over rows, of sum_j j x_j: j from 1, without `id`, a gap counting as 0."""
        kept = [column != "id" for column in self.columns]
        values = np.nan_to_num(table[:, kept]) @ np.arange(1, sum(kept) + 1)
        return float(values.sum()), float((values**2).sum())

    def read(self, folder: Path) -> NDArray[np.float64]:
        """The table in the file of this layout in a folder.

        Raises:
            FileNotFoundError: If there is no such file; the message says how to get it.
            InvalidArgument: If its headings, shape or values are others.
        """
        path = folder / self.file
        try:
            return self.parsed(file_text(path), str(path))
        except FileNotFoundError:
            raise FileNotFoundError(f"no file {path}; to get it: gephyra data fetch {self.name}") from None

    def parsed(self, text: str, source: str) -> NDArray[np.float64]:
        """The table that a text holds. Raises InvalidArgument, naming `source`, for another text."""
        headings, *rows = list(csv.reader(io.StringIO(text))) or [[]]
        if tuple(headings) != self.columns:
            raise _invalid(f"{source}: the first line must be {_listed(self.columns)}, got {_listed(headings)}")
        try:
            values = [[float(cell) if cell else np.nan for cell in row] for row in rows]
            table = np.array(values, dtype=np.float64).reshape(len(rows), -1)
        except ValueError as error:
            raise _invalid(f"{source}: every row must be {len(self.columns)} numbers ({error})") from None
        return self.checked(table, source)

    def text(self, table: NDArray[np.float64]) -> str:
        """The file's content: shortest decimals that read back as the same numbers, nothing for a gap."""
        lines = [self.columns, *(tuple(_cell(value) for value in row) for row in table.tolist())]
        return "".join(",".join(line) + "\n" for line in lines)

    def write(self, table: NDArray[np.float64], folder: Path, force: bool = False) -> bool:
        """Write the file, whole or not at all, and say whether it changed.

        A file with the same values stays as it is.

        Raises:
            AlreadyExists: If there is a file with other content, unless `force`.
        """
        path, text = folder / self.file, self.text(table)
        if path.exists():
            if self._holds(path, table):
                return False
            if not force:
                raise AlreadyExists(f"{path} exists and holds something else; --force replaces it")
        folder.mkdir(parents=True, exist_ok=True)
        _replace(path, text)
        return True

    def _holds(self, path: Path, table: NDArray[np.float64]) -> bool:
        try:
            there = self.parsed(file_text(path), str(path))
        except InvalidArgument:
            return False
        kept = [column != "id" for column in self.columns]  # not every source has it
        return bool(np.array_equal(there[:, kept], table[:, kept], equal_nan=True))


def dataset(name: str) -> Dataset:
    """The data set of this name. Raises NotFound, with the names there are."""
    if name not in DATASETS:
        raise NotFound(f"no data set {name!r}; there are {', '.join(DATASETS)}", reason="DATASET_NOT_FOUND")
    return DATASETS[name]


def file_text(path: Path) -> str:
    """The text in a file. Raises InvalidArgument if it is no text, OSError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(f"{path} is no text in UTF-8 ({error})") from None


def _replace(path: Path, text: str) -> None:
    """Put the text in the file's place in one step."""
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def _cell(value: float) -> str:
    if np.isnan(value):
        return ""
    return str(int(value)) if value == int(value) else repr(value)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape) + " (rows x columns)"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ",".join(names) if len(names) <= 6 else f"{','.join(names[:3])},..,{names[-1]} ({len(names)} columns)"


def _invalid(sentence: str) -> InvalidArgument:
    return InvalidArgument(sentence, reason="DATA_INVALID", violations=[Violation("data", sentence)])


def _numbered(count: int, lowest: float, highest: float, whole: bool = False) -> Range:
    return Range(tuple(f"x{i}" for i in range(count)), lowest, highest, whole)


_LABEL = "label"
_ALL = (
    Dataset(
        "cancer", "breast_cancer.csv", 569,
        (Range(("id",), 0, 1e10, whole=True), Range((_LABEL,), 0, 1, whole=True), _numbered(30, 0, 5000)),
        (17053859.0187927, 686405700917.2949), "UCI breast cancer Wisconsin (diagnostic); 1 benign, 0 malignant",
    ),
    Dataset(
        "seeds", "seeds.csv", 21, (Range(("r", "n"), 0, 100, whole=True), Range(("x1", "x2"), 0, 1, whole=True)),
        (2160.0, 302472.0), "Crowder 1978, BUGS example Seeds",
    ),
    Dataset(
        "brownian", "brownian_observations.csv", 30,
        (Range(("t",), 0, 29, whole=True), Range(("observed_loc",), -2, 2, gaps=True)),
        (417.463984616, 7811.603292000805), "inference gym, ten times not observed",
    ),
    Dataset(
        "sonar", "sonar.csv", 208, (_numbered(60, -1, 1), Range((_LABEL,), -1, 1, whole=True)),
        (-129113.290297375, 93296222.95532861), "UCI connectionist bench, columns scaled to [-1, 1]; 1 rock, -1 mine",
    ),
    Dataset(
        "ionosphere", "ionosphere.csv", 351, (_numbered(34, -1, 1), Range((_LABEL,), -1, 1, whole=True)),
        (45027.63287, 13888889.728806695), "UCI; 1 good, -1 bad",
    ),
    Dataset(
        "credit", "german_credit.csv", 1000,
        (_numbered(24, 0, 184, whole=True), Range((_LABEL,), 1, 2, whole=True)),
        (822299.0, 709702067.0), "UCI Statlog German credit, the numeric coding; 1 good, 2 bad",
    ),
    Dataset(
        "pines", "pines.csv", 126, (Range(("x", "y"), 0, 1),), (193.95248687486543, 363.7091293764122),
        "Finnish pines, points of the unit square; from a file of yours",
    ),
)  # fmt: skip

DATASETS: Mapping[str, Dataset] = MappingProxyType({each.name: each for each in _ALL})
"""Every data set by name."""
