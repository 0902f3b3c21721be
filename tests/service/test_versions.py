"""Databases of every earlier version are brought to this one with their data; the tables are those of `schema`."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from gephyra.samplers.denoising.settings import DenoisingSettings
from gephyra.samplers.settings import Method, TrainingSettings
from gephyra.service import jobs
from gephyra.service.config import TENANT
from gephyra.service.store import blobs, datasets, samplers, targets, versions
from gephyra.service.store import jobs as job_store
from gephyra.service.store.database import Store
from gephyra.service.store.places import Place
from gephyra.service.store.records import JobState, TargetState

UPGRADE = Path(__file__).parents[1] / "upgrade"


def of_tag(tag: str, path: Path) -> None:
    shutil.copy(UPGRADE / "fixtures" / tag / "data/gephyra.sqlite3", path)


def of_dump(name: str, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((UPGRADE / "databases" / name).read_text())


TABLES = ("targets", "blobs", "jobs", "events", "samplers", "idempotency")

# Each version: what makes a database of it, and from what.
OLD: tuple[tuple[int, Callable[[str, Path], None], str], ...] = (
    (1, of_tag, "v0.1.0"),
    (2, of_tag, "v0.2.0"),
    (3, of_dump, "schema-3.sql"),
    (4, of_dump, "schema-4.sql"),
    (4, of_tag, "v0.3.0"),
)


def numbers(connection: Connection) -> tuple[int, str]:
    """The version that gephyra reads, and alembic's."""
    theirs: str = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    return versions.version(connection), theirs


def counts(connection: Connection) -> list[int]:
    return [connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in TABLES]


@pytest.mark.parametrize(("version", "make", "name"), OLD, ids=[row[2] for row in OLD])
def test_an_earlier_version_is_brought_up_to_date_once(
    version: int, make: Callable[[str, Path], None], name: str, tmp_path: Path
) -> None:
    make(name, tmp_path / "db")
    with closing(sqlite3.connect(tmp_path / "db")) as old:
        before = [old.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES]
    assert sum(before) > 4
    for found in (version, versions.latest()):
        store = Store(tmp_path / "db")
        assert store.upgraded_from == found
        assert store.read_now(numbers) == (versions.latest(), str(versions.latest()))
        assert store.read_now(versions.differences) == []
        assert store.read_now(counts) == before
        store.close()


@pytest.mark.parametrize("tag", ["v0.1.0", "v0.2.0"])
def test_what_a_tag_trained_is_read(tag: str, tmp_path: Path) -> None:
    """Settings and reports have gained fields since."""
    of_tag(tag, tmp_path / "db")
    store = Store(tmp_path / "db")
    (job,), _ = store.read_now(job_store.page, TENANT, 9, "")
    (sampler,), _ = store.read_now(samplers.page, TENANT, 9, "")
    assert (job.state, job.sampler, job.start, job.dataset) == (JobState.SUCCEEDED, sampler.name, "", "")
    assert isinstance(job.settings, TrainingSettings)
    assert job.settings == sampler.settings
    assert (sampler.job, sampler.dataset, job.settings.budget.iterations) == (job.name, "", 3)
    store.close()


@pytest.mark.parametrize("version", [3, 4])
def test_what_an_unreleased_version_stored_is_read(version: int, tmp_path: Path) -> None:
    of_dump(f"schema-{version}.sql", tmp_path / "db")
    store = Store(tmp_path / "db")
    target = store.read_now(targets.find, TENANT, "t-one")
    assert target is not None
    assert (target.state, target.log_z, [site.name for site in target.sites]) == (
        TargetState.READY,
        -1.5,
        ["theta", "y"],
    )
    job = store.read_now(jobs.find, "job-one")
    assert isinstance(job.settings, TrainingSettings)
    assert (job.settings.method, job.settings.seed, job.start) == (Method.CMCD_UD, 2**64 - 1, "sampler-zero")
    assert [event.sequence for event in store.read_now(job_store.events_after, TENANT, "job-one", 0, 9)] == [1, 2]
    assert store.read_now(samplers.find, TENANT, "sampler-one") is not None
    assert store.read_now(blobs.size, TENANT, "00" * 32) == 7
    people = store.read_now(datasets.find, TENANT, "people")
    assert people is not None
    assert [column.name for column in people.facts] == ["a", "b"]
    if version == 4:
        assert isinstance(store.read_now(jobs.find, "job-data").settings, DenoisingSettings)
    # It goes on from there.
    claimed = store.write_now(jobs.claim, 10)
    assert claimed is not None
    assert claimed.name == "job-one"
    store.close()


def test_a_new_database_has_the_tables_of_the_schema(store: Store) -> None:
    assert store.upgraded_from == 0
    assert store.read_now(numbers) == (versions.latest(), str(versions.latest()))
    assert store.read_now(versions.differences) == []


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE blobs",
        "CREATE TABLE more (id INTEGER)",
        "ALTER TABLE samplers ADD COLUMN more INTEGER",
        "DROP INDEX ix_jobs_state",
    ],
)
def test_other_tables_are_noticed(store: Store, change: str) -> None:
    store.write_now(lambda connection: connection.exec_driver_sql(change))
    (difference,) = store.read_now(versions.differences)
    assert change.split()[2] in difference or "more" in difference


def test_each_file_leads_from_the_version_before() -> None:
    folder = Path(versions.__file__).parent / "migrations"
    scripts = ScriptDirectory(folder, version_locations=[folder])
    chain = [(script.revision, script.down_revision) for script in reversed(list(scripts.walk_revisions()))]
    assert chain == [(str(n), str(n - 1) if n > 1 else None) for n in range(1, versions.latest() + 1)]


def test_a_later_version_is_refused_and_left_alone(place: Place) -> None:
    def raise_version(connection: Connection) -> None:
        connection.execute(text(f"UPDATE versions SET version = {versions.latest() + 1}"))

    store = Store(place)
    store.write_now(raise_version)
    store.close()
    with pytest.raises(versions.SchemaMismatch, match=f"schema version {versions.latest() + 1}"):
        Store(place)
    engine = place.reader(1)
    with engine.begin() as connection:
        assert versions.version(connection) == versions.latest() + 1
    engine.dispose()


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    of_dump("schema-3.sql", tmp_path / "db")
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        # What version 5 wants to make.
        connection.execute("CREATE TABLE identity (uid INTEGER)")
        before = list(connection.iterdump())
    with pytest.raises(Exception, match="identity already exists"):
        Store(tmp_path / "db")
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        assert list(connection.iterdump()) == before
