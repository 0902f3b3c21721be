"""The light client: the wheel without extras, beside the oldest and the newest protobuf and grpcio it allows."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.clock import child_seconds

ROOT = Path(__file__).parents[1]
IMPORT_SECONDS = 0.5

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(
    scope="module",
    params=[(), ("protobuf==6.31.1", "grpcio==1.75.1"), ("protobuf>=7,<8",)],
    ids=["as-resolved", "oldest", "protobuf-7"],
)
def bare(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    done = _run(folder / "bin/python", "-m", "pip", "install", "--quiet", wheel, *request.param, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def _python(bare: Path, code: str) -> None:
    done = _run(bare / "python", "-W", "error", "-c", code, cwd=bare)
    assert done.returncode == 0, done.stderr


def test_client_imports_without_torch_and_jax_and_fast(bare: Path) -> None:
    def seconds(code: str) -> float:
        return min(child_seconds(lambda: _python(bare, code)) for _ in range(3))

    _python(bare, "import importlib.util as u; assert not u.find_spec('torch') and not u.find_spec('jax')")
    assert seconds("import gephyra; gephyra.Client; gephyra.AsyncClient") - seconds("pass") < IMPORT_SECONDS


@pytest.mark.parametrize(
    ("name", "extra"), [("jax", "jax"), ("numpyro", "numpyro"), ("torch", "pyro"), ("pyro", "pyro")]
)
def test_capture_says_which_extra_it_needs(bare: Path, name: str, extra: str) -> None:
    done = _run(bare / "python", "-c", f"import gephyra; gephyra.from_{name}(None, 1)", cwd=bare)
    *_, last = done.stderr.splitlines()
    assert last.startswith(("ImportError", "ModuleNotFoundError", "gephyra.clients.errors."))
    assert f"pip install 'gephyra[{extra}]'" in last


def test_every_generated_module_loads(bare: Path) -> None:
    _python(bare, "; ".join(f"import gephyra.protos.{path.stem}" for path in (ROOT / "protos").glob("*_pb2*.py")))


def test_script_says_which_extra_it_needs(bare: Path) -> None:
    done = _run(bare / "gephyra", "--help", cwd=bare)
    assert done.returncode == 2
    assert "pip install" in done.stderr
    assert "gephyra[cli]" in done.stderr
    assert "Traceback" not in done.stderr
