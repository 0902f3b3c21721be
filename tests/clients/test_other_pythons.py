"""The client in other environments: the bare install beside protobuf 7, and ArviZ 1 on Python 3.12."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gephyra.clients.sync import Client

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# What a bare client can do with a server elsewhere, and that it stays bare.
USE = """
import json, sys
import google.protobuf
import gephyra as gp
from gephyra.clients.errors import NotFound

with gp.Client(sys.argv[1]) as client:
    target = client.register(gp.catalogue("gaussian", dim=2), name="gauss")
    sampler = client.train(target, iterations=3, steps=4, width=8, batch_size=16).result()
    draws = sampler.draw(20, seed=1).resample(5)
    try:
        client.target("nobody")
    except NotFound as error:
        reason = error.reason
heavy = [name for name in ("torch", "jax", "rich", "arviz") if name in sys.modules]
version = google.protobuf.__version__
print(json.dumps({"protobuf": version, "shape": draws.x.shape, "reason": reason, "heavy": heavy}))
"""

ARVIZ = """
import numpy as np, arviz, sys
from pathlib import Path
from gephyra.clients import Draws
from gephyra.clients.export import write_draws

x = np.arange(8, dtype=np.float32).reshape(4, 2)
draws = Draws(x, -np.arange(4.0), {"theta": x}, "samplers/a", seed=1)
tree = draws.to_arviz()
assert type(tree).__name__ == "DataTree", type(tree)
assert tree["posterior"]["theta"].shape == (1, 4, 2)
assert tree["posterior"].attrs["sampler"] == "samplers/a"
assert list(draws.resample(3).to_arviz().children) == ["posterior"]
write_draws(draws, Path("draws.nc"))
assert (arviz.from_netcdf("draws.nc")["sample_stats"]["log_weight"].values[0] == draws.log_weights).all()
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([*command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (made,) = folder.glob("*.whl")
    return made


def environment(python: str, folder: Path, *packages: str | Path) -> Path:
    """The interpreter of a new environment with these packages."""
    run(python, "-m", "venv", folder, cwd=folder)
    made = folder / "bin" / "python"
    run(made, "-m", "pip", "install", "--quiet", *packages, cwd=folder)
    return made


def test_a_bare_client_beside_protobuf_7_talks_to_our_server(wheel: Path, tmp_path: Path) -> None:
    python = environment(sys.executable, tmp_path, wheel, "protobuf>=7,<8")
    with Client.local(tmp_path / "runs") as host:
        told = json.loads(run(python, "-c", USE, host.address, cwd=tmp_path))
    assert told["protobuf"].startswith("7.")
    assert (told["shape"], told["reason"], told["heavy"]) == ([5, 2], "TARGET_NOT_FOUND", [])


def test_a_bare_install_has_no_server_of_its_own_and_says_what_to_do(wheel: Path, tmp_path: Path) -> None:
    python = environment(sys.executable, tmp_path, wheel)
    code = "import gephyra; gephyra.Client.local('runs')"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "SERVER_NOT_INSTALLED" in done.stderr
    assert "pip install 'gephyra[server]'" in done.stderr


def test_arviz_1_gets_a_data_tree(wheel: Path, tmp_path: Path) -> None:
    python = shutil.which("python3.12")
    if python is None or subprocess.run([python, "--version"], capture_output=True).returncode:
        pytest.skip("ArviZ 1 needs Python 3.12, and there is no python3.12 here")
    made = environment(python, tmp_path, wheel, "arviz>=1,<2", "h5netcdf", "h5py")
    run(made, "-c", ARVIZ, cwd=tmp_path)
