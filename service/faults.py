"""The refusals of a data set: a sentence for people that names the place, and the place for programs."""

from dataclasses import dataclass

from .errors import InvalidArgument, Reason, Violation

__all__ = ["Place", "fault"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a data set: rows and columns count from 0, lines of a file from 1. None: not known, or everywhere."""

    row: int | None = None
    column: int | None = None
    column_name: str = ""
    line: int | None = None

    def __str__(self) -> str:
        named = self.column_name or self.column
        parts = [] if self.row is None else [f"row {self.row}"]
        parts += [] if named is None else [f"column {named}"]
        text = ", ".join(parts)
        if self.line is None:
            return text
        return f"{text} (line {self.line} of the file)" if text else f"line {self.line}"

    @property
    def metadata(self) -> dict[str, str]:
        """What is known of it, for an error's details."""
        known = {"row": self.row, "column": self.column, "column_name": self.column_name, "line": self.line}
        return {name: str(value)[:200] for name, value in known.items() if value not in (None, "")}


def fault(reason: Reason, field: str, description: str, place: Place | None = None) -> InvalidArgument:
    """The refusal of a data set at this field of its request."""
    place = place or Place()
    sentence = f"{place}: {description}" if str(place) else description
    violation = Violation(field, sentence)
    return InvalidArgument(reason, f"{field}: {sentence}", (violation,), metadata=place.metadata)
