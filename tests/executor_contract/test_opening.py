"""From the operator's word to an executor, where no cluster is needed for that."""

import subprocess
import sys
from pathlib import Path

import pytest

from gephyra.service.config import ExecutorName, ServerConfig
from gephyra.service.executor import LocalExecutor, NoExecutor, NoPlace, Resources, WorkerSpec, open_executor


def test_workers_run_here_unless_told_otherwise(tmp_path: Path) -> None:
    assert isinstance(open_executor(ServerConfig(tmp_path, "127.0.0.1:0")), LocalExecutor)


def test_missing_ray_is_told_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "gephyra.service.executor.ray", raising=False)
    with pytest.raises(NoExecutor, match=r"pip install 'gephyra\[ray\]'"):
        open_executor(ServerConfig(tmp_path, "127.0.0.1:0", executor=ExecutorName.RAY))


def test_a_server_refuses_to_start_without_its_cluster(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gephyra.service", "--data", str(tmp_path), "--socket", str(tmp_path / "s")]
    done = subprocess.run(
        [*command, "--executor", "ray", "--ray-address", "127.0.0.1:1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4
    assert done.stderr.startswith("gephyra: ")
    assert "Traceback" not in done.stderr


async def test_a_worker_that_can_never_fit_is_refused(tmp_path: Path) -> None:
    executor = LocalExecutor(Resources(cpus=2, gpus=0))
    for needs in ({"cpus": 3}, {"gpus": 1}):
        with pytest.raises(NoPlace, match="a worker needs"):
            await executor.start(WorkerSpec(tmp_path, tmp_path / "log", {}, **needs))
    assert executor.in_use == Resources(0, 0)
