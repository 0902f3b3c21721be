"""What README and its neighbours tell a reader to do can be done."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import typer.main

from gephyra.clients.cli.app import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(ROOT.glob("*.md"))
README = (ROOT / "README.md").read_text()
SHELL_LINES = [line.strip().partition("  #")[0] for line in README.splitlines() if line.startswith("    ")]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", document.read_text())
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = re.findall(r"(?:^    |`)make ([a-z ]+)", document.read_text(), flags=re.MULTILINE)
    assert {target for line in named for target in line.split()} <= known


def test_architecture_fits_two_screens() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("line", [line for line in SHELL_LINES if line.startswith("gephyra ")])
def test_command_lines_are_understood(line: str) -> None:
    """Parsed to the last option, not run."""
    command, words = typer.main.get_command(app), shlex.split(line)[1:]
    context = command.make_context("gephyra", words)
    while isinstance(command, typer.core.TyperGroup):
        name, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command = found
        context = command.make_context(name, words, parent=context)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_examples_run_as_written(tmp_path: Path) -> None:
    """One after the other in one folder, each in an interpreter of its own; and the first again on its folder."""
    outputs = []
    for block in (*BLOCKS, BLOCKS[0]):
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    numpyro, pyro, _, again = outputs
    for report in (numpyro, again):
        (log_z,) = re.findall(r"^log Z: (\S+)", report, flags=re.MULTILINE)
        assert abs(float(log_z) + 36.131) < 0.05
        assert "(4000, 8) (4000, 10) (4000,)" in report
    assert abs(float(pyro.split()[0]) + 36.131) < 0.05
