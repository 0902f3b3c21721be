"""Progress of jobs and uploads: a bar where somebody sees it, one line without rich, nothing elsewhere."""

import io
import sys
from datetime import UTC, datetime
from types import ModuleType

import pytest

from gephyra.clients import progress
from gephyra.clients.events import Event, Metrics
from gephyra.clients.facts import summary
from gephyra.clients.words import JobState

NAN = float("nan")
START = Metrics("precondition", 0, 0.0, 0.0, NAN, NAN, NAN, NAN, 0.0, 0, 0)
HALF = Metrics("train", 1200, 30.0, 0.25, 1.0, -73.912, -73.4, 0.31, 41.0, 10**6, 0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def event(metrics: Metrics) -> Event:
    return Event(sequence=1, attempt=1, time=datetime.now(UTC), metrics=metrics)


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *, enabled: bool = True) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.progress_display("trainingJobs/a", enabled=enabled) as display:
        display.update(Event(sequence=1, attempt=1, time=datetime.now(UTC), state=JobState.PENDING))
        display.update(Event(sequence=2, attempt=1, time=datetime.now(UTC), log="loading"))
        display.update(event(START))
        display.update(event(HALF))
    return stream.getvalue()


def test_the_line_has_step_bound_log_z_ess_rate_and_time_left() -> None:
    assert summary(HALF) == "train · step 1200 · ELBO -73.91 · log Z -73.40 · ESS 31% · 41.0/s · 1:30 left"
    assert summary(START) == "precondition · step 0"


def test_a_terminal_with_rich_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text = shown(monkeypatch, Terminal())
    assert "━" in text
    assert "ELBO -73.91" in text


def test_a_terminal_without_rich_shows_a_line_that_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    text = shown(monkeypatch, Terminal())
    *_, before, last = text.split("\r")
    assert last == f"trainingJobs/a: {summary(HALF)}\n"
    assert before.rstrip().endswith(summary(START))


@pytest.mark.parametrize(("stream", "enabled"), [(io.StringIO, True), (Terminal, False)])
def test_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], enabled: bool) -> None:
    assert shown(monkeypatch, stream(), enabled=enabled) == ""


def test_a_notebook_is_known_without_importing_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    class ZMQInteractiveShell:
        """What IPython calls the shell of a Jupyter kernel."""

    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert shown(monkeypatch, io.StringIO()) == ""
    module = ModuleType("IPython")
    module.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert "step 1200" in shown(monkeypatch, io.StringIO())


def sent(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, total: int, *, enabled: bool = True) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.transfer_display("digits.csv", total, enabled=enabled) as told:
        told(0)
        told(total)
    return stream.getvalue()


def test_an_upload_shows_how_much_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text = sent(monkeypatch, Terminal(), 40 << 20)
    assert "digits.csv" in text
    assert "41.9/41.9 MB" in text
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    assert sent(monkeypatch, Terminal(), 40 << 20).endswith("\rdigits.csv: 40 of 40 MiB \n")
    assert sent(monkeypatch, Terminal(), 4000) == ""
    assert sent(monkeypatch, Terminal(), 40 << 20, enabled=False) == ""
    assert sent(monkeypatch, io.StringIO(), 40 << 20) == ""
