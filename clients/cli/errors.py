"""From exceptions to exit codes and sentences: one table."""

from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from ..errors import (
    CaptureError,
    DeadlineExceeded,
    GephyraError,
    Internal,
    InvalidArgument,
    JobCancelled,
    JobFailed,
    MessageTooLarge,
    NotFound,
    Unavailable,
)

__all__ = ["INTERRUPTED", "ErrorGroup", "exit_code"]

INTERRUPTED = 130
_REFUSED = 4
# The first class that fits counts; all other errors are refusals.
_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (InvalidArgument, 2),
    (CaptureError, 2),
    (MessageTooLarge, 2),
    (NotFound, 3),
    (Unavailable, 5),
    (DeadlineExceeded, 5),
    (JobFailed, 6),
    (JobCancelled, 6),
    (Internal, 1),
)


def exit_code(error: GephyraError) -> int:
    """The exit code of the command line for an error."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), _REFUSED)


class ErrorGroup(TyperGroup):
    """Commands whose errors end in a sentence on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except GephyraError as error:
            _complain(str(error))
            raise typer.Exit(exit_code(error)) from None
        except (OSError, ImportError) as error:
            _complain(str(error))
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def _complain(sentence: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error[/]: {escape(sentence)}", highlight=False)
