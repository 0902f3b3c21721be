"""The embedded server: one real server for the whole file, its life and death, and both clients on it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from gephyra.clients import catalogue, errors
from gephyra.clients.aio import AsyncClient
from gephyra.clients.cli.app import app
from gephyra.clients.sync import Client, SamplerHandle

# Small enough for a second of training; nothing here asks for a good sampler.
QUICK: dict[str, Any] = {"iterations": 3, "steps": 4, "width": 8, "batch_size": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def local(folder: Path) -> Iterator[Client]:
    with Client.local(folder) as client:
        yield client


@pytest.fixture(scope="module")
def sampler(local: Client) -> SamplerHandle:
    target = local.register(catalogue("gaussian", dim=3), name="gauss")
    return local.train(target, **QUICK).result(timeout=100)


def processes(client: Client) -> psutil.Process:
    host: Any = client._twin._connection.host
    return psutil.Process(host._process.pid)


def test_the_same_content_under_the_same_name_is_the_same_target(local: Client, sampler: SamplerHandle) -> None:
    again = local.register(catalogue("gaussian", dim=3), name="gauss")
    assert again.name == sampler.target == "targets/gauss"
    assert [target.name for target in local.targets()] == ["targets/gauss"]
    with pytest.raises(errors.AlreadyExists) as caught:
        local.register(catalogue("gaussian", dim=4), name="gauss")
    assert caught.value.reason == "TARGET_NAME_TAKEN"


def test_draws_are_the_same_however_they_are_cut(sampler: SamplerHandle) -> None:
    whole = sampler.draw(300, seed=5)
    assert {sampler.draw(300, seed=5, chunk_size=size).sha256 for size in (1, 7, 256)} == {whole.sha256}
    part = sampler.draw(100, seed=5, start=150)
    np.testing.assert_array_equal(part.x, whole.x[150:250])
    np.testing.assert_array_equal(part.log_weights, whole.log_weights[150:250])
    assert sampler.draw(300, seed=6).sha256 != whole.sha256


def test_the_stored_report_and_fresh_estimates_are_told_apart(sampler: SamplerHandle) -> None:
    stored, fresh = sampler.evidence(), sampler.evidence(n=512, seed=3)
    assert (stored.stored, stored.paths) == (True, 16384)
    assert (fresh.stored, fresh.paths, fresh.seed) == (False, 512, 3)
    assert abs(fresh.log_z - stored.log_z) < 5 * (fresh.log_z_se + stored.log_z_se)


async def test_the_asyncio_client_sees_what_the_synchronous_one_sees(local: Client, sampler: SamplerHandle) -> None:
    async with AsyncClient(local.address) as client:
        twin = await client.sampler(sampler.name)
        assert twin.to_json() == sampler.to_json()
        assert await twin.evidence() == sampler.evidence()
        assert (await twin.draw(40, seed=1)).sha256 == sampler.draw(40, seed=1).sha256
        assert await client.info() == local.info()
        pairs: list[tuple[Any, Any]] = [
            (await client.targets(), local.targets()),
            (await client.jobs(), local.jobs()),
            (await client.samplers(), local.samplers()),
        ]
        for theirs, ours in pairs:
            assert [each.to_json() for each in theirs] == [each.to_json() for each in ours]


def test_evaluate_gives_density_and_score(local: Client, sampler: SamplerHandle) -> None:
    x = np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]])
    evaluation = local.target(sampler.target).evaluate(x)
    assert evaluation.log_density.shape == (2,)
    np.testing.assert_allclose(evaluation.score, -x, atol=1e-6)
    assert all(finding.passed for finding in local.target(sampler.target).check())


def test_a_sampler_moves_through_a_file(local: Client, sampler: SamplerHandle, tmp_path: Path) -> None:
    loaded = local.load(sampler.save(tmp_path / "gauss.gephyra"))
    assert loaded.name != sampler.name
    assert loaded.draw(50, seed=2).sha256 == sampler.draw(50, seed=2).sha256
    (tmp_path / "broken.gephyra").write_bytes(b"not a sampler")
    with pytest.raises(errors.InvalidArgument) as caught:
        local.load(tmp_path / "broken.gephyra")
    assert caught.value.reason == "SAMPLER_FILE_INVALID"


def test_the_command_line_draws_from_the_same_server(local: Client, sampler: SamplerHandle, tmp_path: Path) -> None:
    arguments = ["draw", sampler.name, "-n", "30", "--seed", "4", "--out", str(tmp_path / "d.npz")]
    result = CliRunner().invoke(app, [*arguments, "--server", local.address, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["sha256"] == sampler.draw(30, seed=4).sha256


def test_a_second_owner_of_the_folder_is_refused(local: Client, folder: Path) -> None:
    with pytest.raises(errors.FolderLocked, match=str(folder)):
        Client.local(folder)
    assert CliRunner().invoke(app, ["jobs", "--folder", str(folder)]).exit_code == 4


def test_what_was_there_is_there_again_after_closing(tmp_path: Path) -> None:
    with Client.local(tmp_path) as client:
        client.register(catalogue("gaussian", dim=2), name="gauss")
        server, socket = processes(client), Path(client.address.removeprefix("unix:"))
        assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert not server.is_running()
    assert not socket.parent.exists()
    with Client.local(tmp_path) as client:
        assert client.target("gauss").dim == 2


def test_a_server_that_was_killed_is_gone_and_says_so(tmp_path: Path) -> None:
    with Client.local(tmp_path) as client:
        processes(client).kill()
        with pytest.raises(errors.ServerGone, match="exit code -9") as caught:
            client.info()
        assert not caught.value.retryable


def test_a_server_that_cannot_start_shows_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(errors.FailedPrecondition, match="it said:") as caught:
        Client.local(tmp_path / "file")
    assert caught.value.reason == "SERVER_DID_NOT_START"


def ended(process: psutil.Process, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        return False
    return True


def test_the_server_ends_when_its_client_is_killed(tmp_path: Path) -> None:
    code = f"""
import gephyra, sys, time
client = gephyra.Client.local({str(tmp_path)!r})
print(client._twin._connection.host._process.pid, flush=True)
time.sleep(60)
"""
    # What was killed cannot tidy up its private folder.
    with tempfile.TemporaryDirectory() as private:
        command, environment = [sys.executable, "-c", code], os.environ | {"TMPDIR": private}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
            assert parent.stdout is not None
            server = psutil.Process(int(parent.stdout.readline()))
            parent.kill()
            assert ended(server, 10)


def test_a_client_that_is_never_closed_ends_with_its_program(tmp_path: Path) -> None:
    code = f"""
import gephyra
client = gephyra.Client.local({str(tmp_path)!r})
print(client._twin._connection.host._process.pid, client.address)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    pid, address = done.stdout.split()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(pid))
    assert not Path(address.removeprefix("unix:")).parent.exists()


def read_until(terminal: int, word: bytes) -> bytes:
    """What appears on the terminal until the word does."""
    seen = b""
    while word not in seen:
        seen += os.read(terminal, 4096)
    return seen


def test_ctrl_c_at_the_progress_bar_cancels_the_job_and_is_130(tmp_path: Path) -> None:
    with Client.local(tmp_path) as client:
        client.register(catalogue("gaussian", dim=2), name="gauss")
    command = [sys.executable, "-m", "gephyra.clients.cli", "train", "gauss", "--seconds", "300"]
    terminal, end = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen([*command, "--folder", str(tmp_path)], stderr=end, env=environment) as train:
        bar = read_until(terminal, b" left")
        train.send_signal(signal.SIGINT)
        read_until(terminal, b"is cancelled")
        assert train.wait(60) == 130
    os.close(terminal)
    os.close(end)
    assert b"trainingJobs/" in bar
    with Client.local(tmp_path) as client:
        assert [job.state.value for job in client.jobs()] == ["CANCELLED"]


def test_serve_prints_its_address_as_json_and_drains_on_sigterm(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gephyra.clients.cli", "serve", "--data", str(tmp_path / "runs"), "--json"]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        with Client(told["address"]) as client:
            assert client.info().methods
        server.terminate()
        assert server.wait(40) == 0
    assert not psutil.pid_exists(told["pid"])


def test_serve_refuses_an_address_that_others_can_reach(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gephyra.clients.cli", "serve", "--data", str(tmp_path / "runs")]
    done = subprocess.run([*command, "--listen", "0.0.0.0:0"], capture_output=True, text=True)
    assert done.returncode == 4
    assert "0.0.0.0" in done.stderr


async def test_an_asyncio_client_starts_its_server_on_the_first_call(tmp_path: Path) -> None:
    client = AsyncClient.local(tmp_path)
    assert client.address == ""
    try:
        first, second = await asyncio.gather(client.info(), client.info())
        assert first == second
    finally:
        await client.close()


def test_a_long_folder_name_does_not_matter(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    with Client.local(folder) as client:
        assert client.info().version
    assert tempfile.gettempdir() not in os.listdir(folder)
