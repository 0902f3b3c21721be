"""What a check returns when it passes. Imports nothing heavy."""

from dataclasses import dataclass

__all__ = ["CheckReport", "require"]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A check that held."""

    check: str
    """Its name, for example `check_score`."""
    detail: str
    """What was measured, in words with numbers."""


def require(check: str, passed: bool, detail: str) -> CheckReport:
    """The report, or AssertionError with the same words.

    >>> require("check_batch", True, "rows agree").detail
    'rows agree'
    """
    if not passed:
        raise AssertionError(f"{check}: {detail}")
    return CheckReport(check, detail)
