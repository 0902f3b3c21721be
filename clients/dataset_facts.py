"""What is known of a data set: shared by the asyncio and the synchronous handles."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from gephyra.protos import dataset_service_pb2, tensor_pb2

from .facts import Facts

__all__ = ["ColumnFacts", "DatasetFacts", "bytes_text"]


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """What is known of one column."""

    name: str
    minimum: float
    maximum: float
    distinct: int
    """Number of distinct values."""
    constant: bool
    """One value only: it has no density."""
    tied: bool
    """More than one value, fewer distinct ones than half the rows: a density can grow without bound there."""
    on_levels: bool
    """Constant or tied, and at most 256 distinct values: pixels, counts, grades."""


class DatasetFacts(Facts):
    """Facts of a data set, as the server told them last; they never change."""

    @property
    @abstractmethod
    def message(self) -> dataset_service_pb2.Dataset:
        """The server's record."""

    @property
    def name(self) -> str:
        """`datasets/{id}`."""
        return self.message.name

    @property
    def display_name(self) -> str:
        """A name for people."""
        return self.message.display_name

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.message.rows, self.message.columns

    @property
    def dtype(self) -> str:
        """Type of the values, by its numpy name."""
        known = tensor_pb2.DType
        number = self.message.dtype
        return known.Name(number).removeprefix("DTYPE_").lower() if number in known.values() else "unknown"

    @property
    def size_bytes(self) -> int:
        """Bytes of the values."""
        return self.message.size_bytes

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of names of columns, type, shape and values: equal data sets have equal digests."""
        return self.message.digest

    @property
    def content_sha256(self) -> str:
        """SHA-256 (hex) of the values alone, little-endian in C order: that of `array.tobytes()`."""
        return self.message.content_sha256

    @property
    def create_time(self) -> datetime:
        """When it was made, UTC."""
        return self.message.create_time.ToDatetime(tzinfo=UTC)

    @property
    def on_levels(self) -> bool:
        """True if every column lies on a small number of levels, as pixels and counts do."""
        return self.message.on_levels

    @property
    def facts(self) -> Mapping[str, ColumnFacts]:
        """Facts of each column by name, in order; empty for one that comes from a listing, until `refresh`."""
        fields = ColumnFacts.__dataclass_fields__
        columns = [{name: getattr(column, name) for name in fields} for column in self.message.column_facts]
        return {column["name"]: ColumnFacts(**column) for column in columns}

    @property
    def constant(self) -> tuple[str, ...]:
        """Names of the columns that have one value only."""
        return tuple(column.name for column in self.message.column_facts if column.constant)

    @property
    def tied(self) -> tuple[str, ...]:
        """Names of the columns whose values repeat: fewer distinct ones than half the rows."""
        return tuple(column.name for column in self.message.column_facts if column.tied)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        rows, columns = self.shape
        return {
            "name": self.name,
            "display_name": self.display_name,
            "rows": rows,
            "columns": columns,
            "dtype": self.dtype,
            "size_bytes": self.size_bytes,
            "digest": self.digest,
            "content_sha256": self.content_sha256,
            "create_time": self.create_time.isoformat(),
            "on_levels": self.on_levels,
            "column_facts": [asdict(column) for column in self.facts.values()],
        }

    def rows(self) -> list[tuple[str, str]]:
        """Shape, size, and what the columns say about how to model them."""
        rows, columns = self.shape
        distinct = max((column.distinct for column in self.message.column_facts), default=0)
        levels = f"at most {distinct} distinct values a column" if distinct else "few distinct values a column"
        return [
            ("shape", f"{rows} x {columns} {self.dtype}"),
            ("bytes", bytes_text(self.size_bytes)),
            ("shown as", "" if self.name == f"datasets/{self.display_name}" else self.display_name),
            (
                "constant",
                _said(
                    self.constant,
                    "no density: leave them out, or train with head levels",
                ),
            ),
            (
                "tied",
                _said(
                    self.tied,
                    "values repeat: a density can grow without bound; if all do, head levels",
                ),
            ),
            ("levels", f"{levels}: pixels, counts or grades" if self.on_levels else ""),
        ]


def bytes_text(size: int) -> str:
    """A number of bytes for people."""
    for factor, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def _said(names: Sequence[str], why: str) -> str:
    """Some of the names, and what it means."""
    if not names:
        return ""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{shown} ({why})"
