"""The links of a checkout, the map of the build and the source folders name the same five subpackages."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
FOLDERS = {p.parent.name for p in ROOT.glob("*/__init__.py") if p.parent.name not in {"gephyra", "tests"}}


def test_the_folders_are_the_five_of_the_design() -> None:
    assert {"service", "samplers", "targets", "protos", "clients"} == FOLDERS


def test_links_map_and_folders_agree() -> None:
    links = {p.name for p in (ROOT / "gephyra").iterdir() if p.is_symlink() and p.resolve() == ROOT / p.name}
    assert links == FOLDERS
    assert BUILD["targets"]["wheel"]["sources"] == {name: f"gephyra/{name}" for name in FOLDERS}
    assert set(BUILD["only-include"]) >= FOLDERS
    assert set(BUILD["targets"]["sdist"]["only-include"]) >= FOLDERS


def test_the_package_holds_nothing_but_its_links() -> None:
    real = {p.name for p in (ROOT / "gephyra").iterdir() if not p.is_symlink() and p.name != "__pycache__"}
    assert real == {"__init__.py", "py.typed"}


def _modules() -> set[str]:
    """Every file that must ship, by its name in the wheel: modules, stubs, protos and data beside them."""
    files = {
        f"gephyra/{p.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    return files | {"gephyra/__init__.py", "gephyra/py.typed"}


@pytest.mark.slow
def test_a_wheel_built_from_the_sdist_holds_every_module(tmp_path: Path) -> None:
    def build(target: str, source: Path, into: Path) -> Path:
        subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into], cwd=source, check=True)
        (made,) = into.iterdir()
        return made

    sdist = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(sdist) as packed:
        packed.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    wheel = build("wheel", source, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert shipped == _modules()
