"""`gephyra db` and `gephyra serve --database-url`: what they run, and that an embedded server keeps to its folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gephyra.clients.cli import server
from gephyra.clients.sync import Client

OLD = Path(__file__).parents[1] / "upgrade/fixtures/v0.1.0/data"
URL = "postgresql+psycopg://someone:secret@127.0.0.1:1/x"
FOUND, REFUSED = 1, 4


def gephyra(*words: str | Path, url: str | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "gephyra.clients.cli", *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if name != "GEPHYRA_DATABASE_URL"}
    if url is not None:
        environment["GEPHYRA_DATABASE_URL"] = url
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_an_old_folder_is_backed_up_upgraded_and_checked(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(OLD, folder)
    assert gephyra("db", "check", "--data", folder).returncode == FOUND
    backup = gephyra("db", "backup", tmp_path / "copy", "--data", folder, "--json")
    assert json.loads(backup.stdout)["file"] == str(tmp_path / "copy")
    upgrade = gephyra("db", "upgrade", "--data", folder, "--json")
    assert json.loads(upgrade.stdout)["from"] == 1
    assert gephyra("db", "check", "--data", folder).returncode == 0
    assert (tmp_path / "copy").stat().st_size > 0


@pytest.mark.parametrize("words", [("--database-url", URL), ()])
def test_the_url_is_an_option_or_in_the_environment(words: tuple[str, ...], tmp_path: Path) -> None:
    done = gephyra("db", "check", "--data", tmp_path, *words, url=None if words else URL)
    assert done.returncode == REFUSED
    assert "postgresql+psycopg://someone:***@127.0.0.1:1/x" in done.stderr


def test_a_server_gets_the_url_where_no_other_user_sees_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda program, command, environment: started.append((command, environment)))
    server.serve(data=tmp_path, database_url=URL)
    ((command, environment),) = started
    assert not any("secret" in word for word in command)
    assert environment["GEPHYRA_DATABASE_URL"] == URL


def test_an_embedded_server_keeps_everything_in_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GEPHYRA_DATABASE_URL", URL)
    with Client.local(tmp_path / "runs") as client:
        assert client.targets() == []
    assert (tmp_path / "runs/gephyra.sqlite3").exists()
