"""Each check of `make check` fails on the fault it is there for, planted in a copy of the tree."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = (
    "gephyra", "service", "samplers", "targets", "protos", "clients", "tests", "benchmarks", "examples",
    "scripts", "pyproject.toml", "buf.yaml",
)  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the checkout, links and all."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def _check(tree: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run one check in the copy with the tools of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [tree / "scripts/check.sh", name],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def _append(file: str, text: str) -> Callable[[Path], None]:
    def plant(tree: Path) -> None:
        with (tree / file).open("a") as stream:
            stream.write(text)

    return plant


def _replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    def plant(tree: Path) -> None:
        text = (tree / file).read_text()
        assert old in text
        (tree / file).write_text(text.replace(old, new, 1))

    return plant


LIE = """

def _f() -> None:
    '''
    >>> 1 + 1
    3
    '''
"""

FAULTS = {
    "a type error in the source": ("types", _append("samplers/report.py", '\n_count: int = "one"\n'), "[assignment]"),
    "a type error in a test": ("types", _append("tests/conftest.py", '\n_count: int = "one"\n'), "[assignment]"),
    "an import of the wire by the maths": ("imports", _append("samplers/report.py", "\nimport grpc\n"), "grpc"),
    "an import of torch by the API process": (
        "imports",
        _append("service/names.py", "\nfrom gephyra.targets import base\n"),
        "gephyra.targets.base -> torch",
    ),
    "an import of the server by a client": (
        "imports",
        _append("clients/errors.py", "\ndef f():\n    from gephyra.service import names\n"),
        "gephyra.clients.errors -> gephyra.service.names",
    ),
    "an import of jax beside its loader": ("imports", _append("targets/base.py", "\nimport jax\n"), "jax"),
    "an import by a name that does not ship": (
        "imports",
        _append("samplers/report.py", "\nfrom targets import program\n"),
        "gephyra.samplers.report -> targets",
    ),
    "an unformatted file": ("lint", _append("samplers/report.py", "\n_pair = ( 1,2 )\n"), "samplers/report.py"),
    "an unused name": ("lint", _append("tests/conftest.py", "\nimport shutil\n"), "F401"),
    "a stale generated file": (
        "generated",
        _replace("protos/tensor.proto", "message Tensor {", "message Tensor {\n  bool planted = 99;"),
        "run make protos",
    ),
    "a generated file without its source": ("generated", _append("protos/extra_pb2.py", "\n"), "extra_pb2.py"),
    "a message name in the wrong case": ("wire", _append("protos/tensor.proto", "\nmessage planted {}\n"), "planted"),
    "a released field with another number": (
        "wire",
        _replace("protos/tensor.proto", "repeated int64 shape = 2;", "repeated int64 shape = 7;"),
        "protos/ breaks clients of",
    ),
    "a released word that is gone": (
        "wire",
        _replace("protos/tensor.proto", "  DTYPE_UINT64 = 11;\n", ""),
        "protos/ breaks clients of",
    ),
    "an example that lies": ("examples", _append("samplers/report.py", LIE), "Expected:"),
}


@pytest.mark.parametrize("name", sorted({check for check, _, _ in FAULTS.values()}))
def test_an_honest_copy_passes(tree: Path, name: str) -> None:
    done = _check(tree, name)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails_its_check(tree: Path, fault: str) -> None:
    name, plant, complaint = FAULTS[fault]
    plant(tree)
    done = _check(tree, name)
    assert done.returncode != 0
    assert complaint in done.stdout + done.stderr
