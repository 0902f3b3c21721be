"""PostgreSQL under a store: what happens when the database goes away. Several servers on one: `test_shared.py`."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, text

from gephyra.service.config import TENANT
from gephyra.service.errors import Reason, Unavailable
from gephyra.service.store import targets
from gephyra.service.store.database import Store
from gephyra.service.store.places import DatabaseRefused
from gephyra.service.store.postgresql import PostgreSql
from gephyra.service.store.records import TargetRecord, TargetState
from tests.support.postgres import PostgresServer

TARGET = TargetRecord("t-one", "uid", TargetState.CHECKING, "d1", 3, "somewhere", 1)


def test_a_database_that_is_not_there_at_the_start_is_not_waited_for() -> None:
    place = PostgreSql("postgresql+psycopg://someone@127.0.0.1:1/x")
    started = time.monotonic()
    with pytest.raises(DatabaseRefused, match="cannot open the database"):
        Store(place)
    assert time.monotonic() - started < place.patience


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_database_that_restarts_is_waited_for(own: PostgresServer, number: signal.Signals) -> None:
    store = Store(PostgreSql(own.make()))
    store.write_now(targets.add, TENANT, TARGET)
    store.read_now(targets.find, TENANT, "t-one")
    own.stop(number)
    with ThreadPoolExecutor(1) as elsewhere:
        found = elsewhere.submit(store.read_now, targets.find, TENANT, "t-one")
        time.sleep(1.0)
        assert not found.done()
        own.start()
        # What was acknowledged is there, whether the database ended in order or not.
        assert found.result() == TARGET
    store.write_now(targets.remove, TENANT, "t-one")
    assert store.read_now(targets.find, TENANT, "t-one") is None
    store.close()


def test_a_database_that_stays_away_is_an_error_and_no_hindrance_to_the_end(own: PostgresServer) -> None:
    place = PostgreSql(own.make())
    store = Store(place)
    own.stop()
    ending = threading.Timer(1.0, store.close)
    ending.start()
    started = time.monotonic()
    with pytest.raises(Unavailable, match="the database failed") as away:
        store.read_now(targets.find, TENANT, "t-one")
    assert away.value.reason == Reason.DATABASE_UNAVAILABLE
    assert 1.0 <= time.monotonic() - started < place.patience - 5
    ending.join()


def test_a_transaction_whose_session_is_lost_leaves_nothing(own: PostgresServer) -> None:
    store = Store(PostgreSql(own.make()))

    def lose(connection: Connection) -> None:
        targets.add(connection, TENANT, TARGET)
        own.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gephyra'")

    with pytest.raises(Unavailable):
        store.write_now(lose)
    assert store.read_now(targets.find, TENANT, "t-one") is None
    store.write_now(targets.add, TENANT, TARGET)
    store.close()


def test_a_session_that_was_idle_for_long_in_a_transaction_is_no_fault_of_ours(url: str) -> None:
    """As of a server that was stopped there, and woke."""
    store = Store(PostgreSql(url))

    def idle(connection: Connection) -> None:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
        time.sleep(0.3)
        targets.add(connection, TENANT, TARGET)

    with pytest.raises(Unavailable):
        store.write_now(idle)
    store.write_now(targets.add, TENANT, TARGET)
    store.close()


def test_a_reader_cannot_write_and_a_commit_waits_for_the_disk(postgres: PostgresServer, url: str) -> None:
    postgres.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    store = Store(PostgreSql(url))
    assert store.write_now(lambda c: c.execute(text("SHOW synchronous_commit")).scalar_one()) == "on"
    with pytest.raises(Exception, match="read-only transaction"):
        store.read_now(targets.add, TENANT, TARGET)
    store.close()


def test_a_database_of_another_encoding_is_refused(postgres: PostgresServer) -> None:
    name = "latin"
    postgres.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    url = f"{postgres.make().rpartition('/')[0]}/{name}"
    with pytest.raises(DatabaseRefused, match="LATIN1"):
        Store(PostgreSql(url))
