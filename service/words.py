"""Enums of the wire and the words they stand for in settings: one table each, total both ways."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from .errors import InvalidArgument, Reason

__all__ = ["Words", "field_refused", "number_of", "word_of", "words_of"]


class Words(NamedTuple):
    """The numbers of one enum of the wire and the words they stand for."""

    by_number: Mapping[Any, StrEnum]
    unknown: Reason


def words_of(values: Iterable[tuple[str, int]], prefix: str, words: type[StrEnum], unknown: Reason) -> Words:
    """Word `dbs-ud` is METHOD_DBS_UD on the wire for prefix METHOD. Raises KeyError for a word that the wire lacks."""
    numbers = dict(values)
    return Words({numbers[f"{prefix}_{word.upper().replace('-', '_')}"]: word for word in words}, unknown)


def word_of(known: Words, number: int, path: str) -> StrEnum:
    """What a number stands for. Raises InvalidArgument at field `path` for one that stands for nothing."""
    if number not in known.by_number:
        raise InvalidArgument.at(
            known.unknown, path, f"expected {', '.join(known.by_number.values())}; got number {number}"
        )
    return known.by_number[number]


def number_of(known: Words, word: StrEnum | None) -> Any:
    """The number of a word; None for none."""
    return next((number for number, spelt in known.by_number.items() if spelt is word), None)


def field_refused(
    error: ValueError, path: str, reasons: Mapping[str, Reason], usual: Reason = Reason.FIELD_INVALID
) -> InvalidArgument:
    """What to answer where settings refused a value: their messages begin with the name of the field."""
    name = str(error).split(maxsplit=1)[0].rstrip(":")
    return InvalidArgument.at(reasons.get(name, usual), f"{path}.{name}", str(error))
