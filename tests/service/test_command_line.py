"""How the server starts, refuses to start, and ends."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gephyra.protos import meta_service_pb2, meta_service_pb2_grpc
from gephyra.service.__main__ import main
from gephyra.service.config import ServerConfig
from gephyra.service.lock import FolderLock, FolderLocked
from tests.support.server import ServerProcess, Stubs

REFUSED, LOCKED = 4, 5


def start(data: Path, *arguments: str, stdin: int | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "gephyra.service", "--data", str(data), *arguments],
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(data: Path, *arguments: str) -> tuple[int, str, str]:
    with start(data, *arguments) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:50051", "[::]:0", "example.org:50051"])
def test_only_this_machine_may_connect(tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str) -> None:
    assert main(["--data", str(tmp_path / "data"), "--listen", address]) == REFUSED
    said = capsys.readouterr()
    assert said.out == ""
    assert "TLS" in said.err
    assert not (tmp_path / "data").exists()


def test_addresses_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(tmp_path / "data")]
    assert main([*data, "--listen", "50051"]) == REFUSED
    assert main([*data, "--socket", f"/tmp/{'x' * 120}"]) == REFUSED
    assert "107 bytes" in capsys.readouterr().err
    for bad in ([], ["--listen", "127.0.0.1:0", "--running-jobs", "0"]):
        with pytest.raises(SystemExit) as exit_:
            main([*data, *bad])
        assert exit_.value.code == 2


def test_a_data_folder_has_one_owner(server: ServerProcess) -> None:
    status, out, err = run(server.data, "--listen", "127.0.0.1:0")
    assert (status, out) == (LOCKED, "")
    assert f"process {server.pid}" in err


def test_a_lock_ends_with_its_owner(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(FolderLocked, match=f"process {os.getpid()}"):
        FolderLock(tmp_path)
    FolderLock(tmp_path).close()


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with start(tmp_path / "first", "--listen", "127.0.0.1:0") as first:
        assert first.stdout is not None
        address = first.stdout.readline().rpartition(" ")[2].strip()
        status, _, err = run(tmp_path / "second", "--listen", address)
        assert status == REFUSED
        assert f"cannot listen on {address}" in err
        with grpc.insecure_channel(address) as channel:
            info = meta_service_pb2_grpc.MetaServiceStub(channel).GetServerInfo(meta_service_pb2.GetServerInfoRequest())
        assert info.limits.max_message_bytes == 4 * 1024 * 1024
        first.terminate()
        assert first.wait(30) == 0


def test_a_server_ends_with_its_standard_input_if_asked(tmp_path: Path) -> None:
    with start(tmp_path, "--listen", "127.0.0.1:0", "--exit-with-stdin", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().startswith("gephyra: serving on 127.0.0.1:")
        process.stdin.close()
        assert process.wait(30) == 0


def test_another_schema_is_refused(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    server.stop()
    connection = sqlite3.connect(server.data / "gephyra.sqlite3")
    connection.execute("UPDATE versions SET version = 999")
    connection.commit()
    connection.close()
    status, _, err = run(server.data, "--listen", "127.0.0.1:0")
    assert status == REFUSED
    assert "schema version 999" in err


def test_health_and_reflection_answer(stubs: Stubs) -> None:
    # The published types of these two stubs know no methods.
    checks: Any = health_pb2_grpc.HealthStub(stubs.channel)
    health = checks.Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(stubs.channel)
    (answer,) = reflection.ServerReflectionInfo(iter([request]))
    names = {service.name for service in answer.list_services_response.service}
    assert {
        f"gephyra.v1.{name}Service" for name in ("Target", "Blob", "Dataset", "Training", "Sampler", "Sampling", "Meta")
    } < names


def test_the_server_knows_its_words(stubs: Stubs) -> None:
    info = stubs.meta.GetServerInfo(meta_service_pb2.GetServerInfoRequest())
    assert set(info.methods) == {"dbs", "cmcd", "dis", "dds", "ddpm", "pis", "mcd", "ula"} | {
        f"{method}-ud" for method in ("dbs", "cmcd", "dis", "mcd", "ula")
    }
    assert set(info.losses) == {"rkl-ld", "rkl-r", "rkl-stl", "lv", "tr-lv", "tb", "subtb", "fkl"}
    assert set(info.preconditions) == {"none", "diagonal", "gaussian", "annealed", "auto"}
    assert list(info.integrators) == ["obab", "obabo"]
    assert list(info.devices) == ["auto", "cpu", "cuda"]
    assert list(info.precisions) == ["float32", "float64"]
    assert "gaussian" in {family.family for family in info.catalogue}
    assert "aten" in info.program_formats
    assert "aten.add.Tensor" in info.aten.operators
    assert len(info.aten.digest) == len(info.stablehlo.digest) == 64
    assert info.limits.max_running_jobs == 1


def test_the_api_process_loads_neither_torch_nor_jax() -> None:
    code = "import sys, gephyra.service.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.partition(".")[0] for name in loaded} & {"torch", "jax", "jaxlib", "scipy", "numpyro", "pyro"} == set()


def test_a_live_api_process_has_loaded_neither(server: ServerProcess, stubs: Stubs) -> None:
    """Whatever the tests before this one had it do, none of torch's libraries is mapped into it."""
    maps = Path(f"/proc/{server.pid}/maps").read_text()
    assert "sqlite" in maps
    assert "libtorch" not in maps
    assert "jaxlib" not in maps


def test_a_second_signal_ends_the_server_at_once(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    os.kill(server.pid, signal.SIGSTOP)
    os.kill(server.pid, signal.SIGTERM)
    os.kill(server.pid, signal.SIGINT)
    started = time.monotonic()
    assert server.stop(signal.SIGCONT, seconds=10) in (0, 130)
    assert time.monotonic() - started < 5


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    config = ServerConfig(tmp_path, "unix:/s")
    assert (config.limits.max_draws, config.limits.max_chunk_bytes) == (10**7, 256 * 1024)
    assert config.timings.cancel_message + config.timings.cancel_terminate < 10
    assert config.timings.drain + config.timings.shutdown_grace < 30
