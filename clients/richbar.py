"""The progress bar of rich: the only module outside the command line that imports it."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Column

from .events import Event
from .facts import numbers

__all__ = ["RichBar", "rich_display", "rich_transfer"]


class RichBar:
    """A bar between the stage and the latest metrics."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def update(self, event: Event) -> None:
        """Move the bar."""
        metrics = event.metrics
        if metrics is not None:
            text = numbers(metrics)
            self._progress.update(self._task, completed=metrics.fraction, description=metrics.stage, text=text)
        elif event.state is not None:
            self._progress.update(self._task, description=event.state.told)


@contextlib.contextmanager
def rich_display(name: str) -> Iterator[RichBar]:
    """A bar for the job `name` on standard error, or in the notebook; the bar shrinks to leave room for the text."""
    text = Column(no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
        TextColumn("{task.fields[text]}", table_column=text),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as progress:
        yield RichBar(progress, progress.add_task("waiting", total=1.0, text=name))


@contextlib.contextmanager
def rich_transfer(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for `total` bytes on their way; told how many were sent."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=total)
        yield lambda sent: progress.update(task, completed=sent)
