"""The doctor's findings: a sound machine passes, and each kind of trouble is seen and comes with advice."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gephyra.clients.cli.app import app
from gephyra.service.doctor import folder, network, packages
from gephyra.service.doctor.__main__ import CHECKS, examine
from gephyra.service.doctor.finding import Finding, Level, Setup
from gephyra.service.lock import FolderLock
from gephyra.service.store.database import Store
from gephyra.service.store.versions import latest


def setup(data: Path, **parts: Any) -> Setup:
    return Setup(data, parts.pop("listen", "127.0.0.1:0"), **parts)


def only(findings: Iterator[Finding], check: str) -> Finding:
    (finding,) = [each for each in findings if each.check == check]
    assert bool(finding.advice) == (finding.level is not Level.OK), finding
    return finding


@pytest.fixture
def taken() -> Iterator[str]:
    """An address on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_sound_machine_has_nothing_that_stops(tmp_path: Path) -> None:
    """By the command line, through a process of its own, workers' imports included."""
    done = CliRunner().invoke(
        app, ["doctor", "--data", str(tmp_path / "new" / "data"), "--listen", "127.0.0.1:0", "--json"]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["stopped"] is False
    levels = {finding["check"]: finding["level"] for finding in told["findings"]}
    assert {"gephyra", "packages", "data folder", "disk", "database", "torch", "gpu", "jax", "port", "clock"} <= set(
        levels
    )
    assert levels["torch"] == levels["port"] == "ok"
    assert not (tmp_path / "new").exists()


def test_trouble_is_shown_with_what_to_do_and_ends_with_1(tmp_path: Path, taken: str) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    done = CliRunner().invoke(app, ["doctor", "--data", str(tmp_path / "data"), "--listen", taken])
    assert done.exit_code == 1
    assert "2 of" in done.output
    assert "what to do" in done.output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_stops(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert only(folder.check_folder(setup(tmp_path / "data")), "data folder").level is Level.STOP


def test_a_file_in_the_place_of_the_folder_stops(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("")
    assert only(folder.check_folder(setup(path)), "data folder").level is Level.STOP


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    for check in CHECKS:
        if check is not packages.check_workers:
            list(check(setup(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "level"), [(2**20, Level.STOP), (2**29, Level.WARNING), (2**31, Level.OK)])
def test_little_room_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    class Usage:
        def __init__(self) -> None:
            self.free = free

    monkeypatch.setattr("gephyra.service.doctor.folder.shutil.disk_usage", lambda place: Usage())
    assert only(folder.check_disk(setup(tmp_path)), "disk").level is level


def test_a_running_server_is_named_and_its_ports_may_be_taken(tmp_path: Path, taken: str) -> None:
    with FolderLock(tmp_path):
        assert str(os.getpid()) in only(folder.check_folder(setup(tmp_path)), "owner").found
        assert only(network.check_ports(setup(tmp_path, listen=taken)), "port").level is Level.OK
    assert only(network.check_ports(setup(tmp_path, listen=taken)), "port").level is Level.STOP
    assert [each for each in folder.check_folder(setup(tmp_path)) if each.check == "owner"] == []


@pytest.mark.parametrize("address", ["50051", "127.0.0.1:99999", "192.0.2.1:1"])
def test_addresses_that_cannot_be_had_stop(tmp_path: Path, address: str) -> None:
    found = list(network.check_ports(setup(tmp_path, listen="127.0.0.1:0", admin=address)))
    assert [each.level for each in found] == [Level.OK, Level.STOP]


@pytest.mark.parametrize(("change", "level"), [(-1, Level.WARNING), (0, Level.OK), (1, Level.STOP)])
def test_versions_of_the_database_are_told_apart(tmp_path: Path, change: int, level: Level) -> None:
    path = tmp_path / "gephyra.sqlite3"
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE versions SET version = version + ?", (change,))
    connection.commit()
    connection.close()
    finding = only(folder.check_schema(setup(tmp_path)), "database")
    assert finding.level is level
    assert str(latest() + change) in finding.found


def test_a_database_that_is_none_stops(tmp_path: Path) -> None:
    (tmp_path / "gephyra.sqlite3").write_bytes(b"no database at all, " * 100)
    assert only(folder.check_schema(setup(tmp_path)), "database").level is Level.STOP


def test_a_clock_before_the_first_release_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(folder.check_clock(setup(tmp_path)), "clock").level is Level.OK
    monkeypatch.setattr("gephyra.service.doctor.folder.time.time", lambda: 0.0)
    assert only(folder.check_clock(setup(tmp_path)), "clock").level is Level.WARNING


def test_a_missing_package_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("sqlalchemy", "numpyro"):
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(packages, "version", version)
    levels = {each.check: each.level for each in packages.check_packages(setup(tmp_path))}
    assert levels == {"packages": Level.OK, "sqlalchemy": Level.STOP, "numpyro": Level.OK}


def test_torch_that_does_not_load_stops_and_jax_only_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_TORCH", "raise ImportError('no torch here')")
    monkeypatch.setattr(packages, "_JAX", "raise ImportError('no jax here')")
    found = list(packages.check_workers(setup(tmp_path)))
    assert [(each.check, each.level) for each in found] == [("torch", Level.STOP), ("jax", Level.WARNING)]
    assert "no torch here" in found[0].found


@pytest.mark.parametrize("url", ["nonsense", "mysql://a:secret@127.0.0.1/x", "postgresql://a:secret@127.0.0.1:1/x"])
def test_postgresql_that_cannot_be_had_stops_and_no_password_is_shown(tmp_path: Path, url: str) -> None:
    finding = only(network.check_database(setup(tmp_path, database_url=url)), "postgresql")
    assert finding.level is Level.STOP
    assert "secret" not in finding.found + finding.advice


def test_a_check_that_fails_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check_broken(setup: Setup) -> Iterator[Finding]:
        raise RuntimeError("broken")

    monkeypatch.setattr("gephyra.service.doctor.__main__.CHECKS", (check_broken, folder.check_disk))
    assert [each.check for each in examine(setup(tmp_path))] == ["broken", "disk"]


def test_the_doctor_itself_loads_neither_torch_nor_jax() -> None:
    code = "import sys, gephyra.service.doctor.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.partition(".")[0] for name in loaded} & {"torch", "jax", "sqlalchemy"} == set()
