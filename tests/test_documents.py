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
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README, DATA = ((ROOT / name).read_text() for name in ("README.md", "docs/data-driven-targets.md"))
LINES = [*README.splitlines(), *DATA.splitlines()]
SHELL_LINES = [line.strip().partition("  #")[0] for line in LINES if line.startswith("    ")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", document.read_text())
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


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


def _outputs(folder: Path, blocks: list[str]) -> list[str]:
    """What blocks of Python print, one after the other in one folder, each in an interpreter of its own."""
    outputs = []
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    return outputs


def _blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_examples_run_as_written(tmp_path: Path) -> None:
    """And the first again on its folder."""
    blocks = _blocks(README)
    numpyro, pyro, _, again = _outputs(tmp_path, [*blocks, blocks[0]])
    for report in (numpyro, again):
        (log_z,) = re.findall(r"^log Z: (\S+)", report, flags=re.MULTILINE)
        assert abs(float(log_z) + 36.131) < 0.05
        assert "(4000, 8) (4000, 10) (4000,)" in report
    assert abs(float(pyro.split()[0]) + 36.131) < 0.05


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_examples_of_data_run_as_written(tmp_path: Path) -> None:
    modes, households, chosen, densities = _outputs(tmp_path, _blocks(DATA))
    assert "(1000, 2) (1000,)" in modes
    assert "is of: densities" in modes
    shape, difference = modes.splitlines()[-1].rsplit(maxsplit=1)
    assert shape == "(1000,)"
    assert abs(float(difference)) < 1e-3
    assert "is of: probabilities of levels" in households
    assert re.fullmatch(r"\[\s*-?\d\S*\s+-?\d\S*\s*\]", chosen.strip().splitlines()[-1])
    assert "from given draws" in densities
    assert abs(float(re.findall(r"^log Z: (\S+)", densities, flags=re.MULTILINE)[0]) - 2.531) < 0.1
    assert densities.strip().splitlines()[-1] == "0.0"
