"""`python -m gephyra.service.administer`: upgrade, check and backup, on each database, and what they refuse."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gephyra.service.administer import main
from gephyra.service.config import TENANT
from gephyra.service.home import find_database, open_store
from gephyra.service.lock import FolderLock
from gephyra.service.store import targets
from gephyra.service.store.database import Store
from gephyra.service.store.places import DatabaseRefused
from gephyra.service.store.postgresql import PostgreSql
from gephyra.service.store.records import TargetRecord, TargetState
from gephyra.service.store.versions import latest
from tests.support.postgres import PostgresServer

FOUND, ARGUMENTS, REFUSED, IN_USE = 1, 2, 4, 5
TARGET = TargetRecord("t-one", "uid", TargetState.CHECKING, "d1", 3, "somewhere", 1)
OLD = Path(__file__).parents[1] / "upgrade/fixtures/v0.1.0/data/gephyra.sqlite3"

Command = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command on the folder `data`; its exit code, what it printed as JSON, what it complained."""

    def run(*words: str, url: str = "") -> tuple[int, dict[str, Any], str]:
        code = main([*words, "--data", str(tmp_path / "data"), "--database-url", url, "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else {}, said.err

    return run


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The database of a folder of version 1."""
    shutil.copytree(OLD.parent, tmp_path / "data")
    return tmp_path / "data" / OLD.name


def test_an_old_folder_is_checked_then_upgraded(old: Path, command: Command) -> None:
    before = old.read_bytes()
    code, record, _ = command("check")
    assert (code, record["version"], record["latest"], record["damage"]) == (FOUND, 1, latest(), [])
    with closing(sqlite3.connect(old)) as connection:
        # Nothing but the mode of its journal was changed.
        assert connection.execute("SELECT version FROM versions").fetchone() == (1,)
    assert len(old.read_bytes()) == len(before)
    assert command("upgrade")[:2] == (0, {"database": str(old), "from": 1, "version": latest()})
    assert command("upgrade")[:2] == (0, {"database": str(old), "from": latest(), "version": latest()})
    code, record, _ = command("check")
    assert (code, record["version"], record["differences"], record["damage"]) == (0, latest(), [], [])


def test_sentences_say_what_to_do(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--data", str(old.parent), "--database-url", ""]) == FOUND
    assert "gephyra db upgrade" in capsys.readouterr().out
    assert main(["upgrade", "--data", str(old.parent), "--database-url", ""]) == 0
    assert f"version: {latest()}" in capsys.readouterr().out


def test_other_tables_and_orphans_are_found(old: Path, command: Command) -> None:
    command("upgrade")
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("ALTER TABLE blobs ADD COLUMN more INTEGER")
        connection.execute("INSERT INTO events VALUES (99, 1, x'00')")
        connection.commit()
    code, record, _ = command("check")
    assert code == FOUND
    assert ["more" in each for each in record["differences"]] == [True]
    assert ["events" in each for each in record["damage"]] == [True]


def test_damage_is_found(old: Path, command: Command) -> None:
    with old.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xff" * 4096)
    code, record, complaint = command("check")
    assert code in (FOUND, REFUSED)
    assert record.get("damage") or "malformed" in complaint


def test_a_later_version_is_refused(old: Path, command: Command) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE versions SET version = 999")
        connection.commit()
    for word in ("check", "upgrade"):
        code, record, complaint = command(word)
        assert (code, record) == (REFUSED, {})
        assert "schema version 999" in complaint


def test_a_folder_in_use_is_not_upgraded_but_checked_and_backed_up(old: Path, command: Command, tmp_path: Path) -> None:
    with FolderLock(old.parent):
        assert command("upgrade")[0] == IN_USE
        assert command("check")[0] == FOUND
        assert command("backup", str(tmp_path / "copy"))[0] == 0


def test_nothing_is_made_where_there_is_nothing(tmp_path: Path, command: Command) -> None:
    for words in (["check"], ["upgrade"], ["backup", str(tmp_path / "copy")]):
        code, _, complaint = command(*words)
        assert code == REFUSED
        assert "there is no database" in complaint
    assert list(tmp_path.iterdir()) == []


def test_missing_and_corrupt_content_is_named(old: Path, command: Command) -> None:
    command("upgrade")
    first, second = sorted(path for path in (old.parent / "artefacts/sha256").rglob("*") if path.is_file())
    first.write_bytes(b"other")
    code, record, _ = command("check")
    assert (code, record["missing"], record["corrupt"]) == (FOUND, [], [str(first)])
    second.unlink()
    code, record, _ = command("check")
    assert (code, record["missing"], record["corrupt"]) == (FOUND, [str(second)], [str(first)])


def test_content_that_nothing_needs_goes_from_a_stopped_server(
    old: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, complaint = command("gc")
    assert code == REFUSED
    assert "gephyra db upgrade" in complaint
    command("upgrade")
    for path in old.parent.glob("artefacts/sha256/*/*"):
        os.utime(path, (1, 1))
    litter = old.parent / "artefacts/sha256/ab" / ("ab" * 32)
    litter.parent.mkdir()
    litter.write_bytes(b"litter")
    with FolderLock(old.parent):
        assert command("gc", "--grace", "0")[0] == IN_USE
        code, record, _ = command("gc", "--grace", "0", "--dry-run")
    told = [f"artefacts/sha256/ab/{'ab' * 32}, 6 bytes"]
    assert (code, record["would remove"], record["files"], record["bytes"]) == (0, told, 1, 6)
    # A day is left to what is young.
    assert command("gc")[1]["removed"] == []
    assert litter.exists()
    code, record, _ = command("gc", "--grace", "0")
    assert (code, record["removed"]) == (0, told)
    assert not litter.exists()
    assert command("gc", "--grace", "0")[1]["removed"] == []
    assert command("check")[0] == 0
    assert main(["gc", "--data", str(old.parent), "--database-url", ""]) == 0
    assert "bytes: 0" in capsys.readouterr().out


@pytest.mark.parametrize("hours", ["-1", "nan", "inf", "many"])
def test_a_grace_is_a_number_of_hours(old: Path, command: Command, hours: str) -> None:
    with pytest.raises(SystemExit) as ended:
        command("gc", f"--grace={hours}")
    assert ended.value.code == ARGUMENTS


def test_a_backup_is_one_moment_of_a_store_at_work(tmp_path: Path, command: Command) -> None:
    store = open_store(_folder(tmp_path), "")
    store.write_now(targets.add, TENANT, TARGET)
    code, record, _ = command("backup", str(tmp_path / "copy"))
    assert (code, record["bytes"]) == (0, (tmp_path / "copy").stat().st_size)
    store.write_now(targets.remove, TENANT, "t-one")
    store.close()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "copy"}
    copy = Store(tmp_path / "copy")
    assert copy.read_now(targets.find, TENANT, "t-one") == TARGET
    copy.close()


def test_a_backup_takes_no_file_s_place(old: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("precious")
    code, _, complaint = command("backup", str(tmp_path / "copy"))
    assert code == ARGUMENTS
    assert "choose another file" in complaint
    assert (tmp_path / "copy").read_text() == "precious"
    assert command("backup", str(tmp_path / "nowhere" / "copy"))[0] == ARGUMENTS
    assert {path.name for path in tmp_path.iterdir()} == {"data", "copy"}


def test_postgresql_is_upgraded_checked_and_backed_up(
    tmp_path: Path, command: Command, postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("upgrade", url=url)[1]["from"] == 0
    store = open_store(_folder(tmp_path), url)
    store.write_now(targets.add, TENANT, TARGET)
    code, record, _ = command("check", url=url)
    assert (record["version"], record["differences"], record["damage"]) == (latest(), [], [])
    assert "***" in record["database"]
    # Its definition was never stored, so nobody can tell what else may go.
    assert (code, [Path(each).name for each in record["missing"]]) == (FOUND, ["d1"])
    store.close()
    assert command("gc", "--grace", "0", url=url)[1]["unreadable"] == ["d1"]
    store = open_store(_folder(tmp_path), url)
    monkeypatch.setenv("PATH", str(postgres.programs), prepend=":")
    code, record, complaint = command("backup", str(tmp_path / "copy"), url=url)
    assert code == 0, complaint
    store.close()
    restored = postgres.make()
    plain = restored.replace("+psycopg", "")
    subprocess.run([postgres.programs / "pg_restore", f"--dbname={plain}", tmp_path / "copy"], check=True)
    # It is the same database, so it goes with the same folder.
    store = open_store(tmp_path / "data", restored)
    assert store.read_now(targets.find, TENANT, "t-one") == TARGET
    store.close()


def test_without_pg_dump_there_is_no_backup(
    tmp_path: Path, command: Command, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, complaint = command("backup", str(tmp_path / "copy"), url=url)
    assert code == REFUSED
    assert "pg_dump" in complaint


def test_a_failed_dump_leaves_no_file(tmp_path: Path, command: Command, postgres: PostgresServer) -> None:
    gone = postgres.make()
    postgres.drop(gone)
    code, _, complaint = command("backup", str(tmp_path / "copy"), url=gone)
    assert code == REFUSED
    assert "does not exist" in complaint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_and_a_database_belong_together(tmp_path: Path, postgres: PostgresServer, url: str) -> None:
    folder = _folder(tmp_path)
    for _ in range(2):
        open_store(folder, url).close()
    with pytest.raises(DatabaseRefused, match="belongs to another database"):
        open_store(folder, postgres.make())
    with pytest.raises(DatabaseRefused, match="GEPHYRA_DATABASE_URL"):
        open_store(folder, "")
    assert not (folder / "gephyra.sqlite3").exists()
    other = tmp_path / "other"
    other.mkdir()
    open_store(other, "").close()
    with pytest.raises(DatabaseRefused, match="has a database of its own"):
        find_database(other, url)
    # Refused, the store was closed: another may have it.
    open_store(folder, url).close()


@pytest.mark.parametrize("bad", ["", "nonsense", "sqlite:///file", "mysql://u:secret@h/d", "postgresql+asyncpg://h/d"])
def test_other_urls_are_refused_without_their_passwords(bad: str) -> None:
    with pytest.raises(DatabaseRefused, match=r"postgresql\+psycopg://") as refused:
        PostgreSql(bad)
    assert "secret" not in str(refused.value)


def test_a_plain_url_of_postgresql_is_understood(url: str) -> None:
    store = Store(PostgreSql(url.replace("+psycopg", "")))
    assert store.read_now(lambda connection: connection.execute(text("SELECT 1")).scalar_one()) == 1
    store.close()


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    return folder
