"""The rules of ARCHITECTURE.md that a program can check: imports, sizes, public names, no effect of importing."""

import inspect
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

from tests.support.clock import child_seconds
from tests.support.source import (
    ROOT,
    SHIPPED,
    WRITTEN,
    code_lines,
    declared_names,
    functions,
    imported_names,
    module_name,
    public_names,
)

FILE_LINES = 300
FUNCTION_LINES = 40
IMPORT_SECONDS = 0.5
API_CONTRACT = "the API process never loads torch or jax"


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command], cwd=ROOT, capture_output=True, text=True, check=False)


def _python(code: str) -> str:
    """What a fresh interpreter prints for `code`. Importing must work with warnings as errors too."""
    done = _run(sys.executable, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_contracts_hold() -> None:
    done = _run(Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_of_the_service_is_on_one_side() -> None:
    """Each module of service is named in the contract that keeps torch out of the API process, or runs in a worker."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["name"] == API_CONTRACT]
    api = set(contract["source_modules"])
    worker = {name for name in contract["forbidden_modules"] if name.startswith("gephyra.")}
    modules = {name for name in map(module_name, SHIPPED) if name.startswith("gephyra.service.")}
    assert {name for name in modules if not any(f"{name}.".startswith(f"{known}.") for known in api | worker)} == set()


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES
    assert {f.name: code_lines(f) for f in functions(path) if code_lines(f) > FUNCTION_LINES} == {}


@pytest.mark.parametrize(
    "path", [path for path in SHIPPED if declared_names(path) is not None], ids=lambda path: str(path.relative_to(ROOT))
)
def test_declared_names_are_the_public_names(path: Path) -> None:
    declared = declared_names(path) or []
    assert len(declared) == len(set(declared))
    assert set(declared) >= public_names(path), "public, but not in __all__: list it or give it a leading underscore"
    # A package may pass on what its modules define.
    passed_on = imported_names(path) if path.name == "__init__.py" else set()
    lazy = {name for name in declared if "__getattr__" in {f.name for f in functions(path)}}
    assert set(declared) <= public_names(path) | passed_on | lazy
    module = import_module(module_name(path))
    assert [name for name in declared if not hasattr(module, name)] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_methods_are_documented_where_they_are_or_in_their_interface(path: Path) -> None:
    name = module_name(path)
    classes = [value for value in vars(import_module(name)).values() if inspect.isclass(value)]
    bare = [
        f"{owner.__name__}.{method}"
        for owner in classes
        if owner.__module__ == name and not owner.__name__.startswith("_")
        for method, function in vars(owner).items()
        if not method.startswith("_") and isinstance(function, FunctionType | property | classmethod | staticmethod)
        if not inspect.getdoc(getattr(owner, method))
    ]
    assert bare == []


def test_package_gives_every_name_it_declares() -> None:
    gephyra = import_module("gephyra")
    assert [name for name in gephyra.__all__ if not hasattr(gephyra, name)] == []
    assert set(gephyra.__all__) <= set(dir(gephyra))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = gephyra.nonsense


def test_importing_changes_nothing() -> None:
    done = _run(sys.executable, "-m", "tests.support.import_effects")
    assert done.returncode == 0, done.stderr
    *changes, last = done.stdout.splitlines()
    assert changes == []
    assert last.startswith("looked at ")


def test_light_client_is_light() -> None:
    code = "import sys, gephyra; gephyra.Client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    heavy = {"torch", "jax", "jaxlib", "scipy", "sqlalchemy", "pydantic", "arviz", "matplotlib", "rich", "typer"}
    assert set(_python(code).split()) & heavy == set()


def test_import_is_fast() -> None:
    def seconds(code: str) -> float:
        return min(child_seconds(lambda: _python(code)) for _ in range(3))

    assert seconds("import gephyra; gephyra.Client") - seconds("pass") < IMPORT_SECONDS


def test_hypothesis_entry_point_is_light() -> None:
    code = "import sys, gephyra.clients.testing._hypothesis; print(*sys.modules)"
    assert {"torch", "jax", "gephyra.samplers", "gephyra.targets"} & set(_python(code).split()) == set()
