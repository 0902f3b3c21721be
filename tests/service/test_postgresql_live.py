"""A whole server on PostgreSQL: it trains and comes back, and its jobs outlive restarts of the database."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from gephyra.protos import sampler_service_pb2, training_service_pb2
from tests.support.postgres import PostgresServer
from tests.support.server import ServerProcess, create_job, gaussian, get_job, register, train, wait_for, watch

REFUSED = 4
LONG = training_service_pb2.TrainingConfig(
    seconds=600.0, batch_size=16, steps=4, width=8, precondition=training_service_pb2.PRECONDITION_NONE
)


def start(data: Path, url: str) -> tuple[int, str]:
    """A server that must not come up: its exit code, and what it said."""
    command = [sys.executable, "-m", "gephyra.service", "--data", str(data), "--listen", "127.0.0.1:0"]
    done = subprocess.run([*command, "--database-url", url], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_server_on_postgresql_trains_draws_and_comes_back(
    url: str, serve: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = serve(tmp_path / "data", "--database-url", url)
    target = register(server.stubs, gaussian(), "normal-there")
    sampler = train(server.stubs, target.name)
    code, said = start(tmp_path / "other", url)
    assert (code, "belongs to another data folder" in said) == (REFUSED, True)
    assert server.stop() == 0
    assert not (tmp_path / "data/gephyra.sqlite3").exists()
    assert start(tmp_path / "data", "")[0] == REFUSED
    server.start()
    request = sampler_service_pb2.DrawSamplesRequest(sampler=sampler.name, count=4, seed=1)
    assert sum(message.chunk.count for message in server.stubs.sampling.DrawSamples(request)) == 4


def test_a_killed_server_leaves_its_database_free(
    url: str, serve: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = serve(tmp_path / "data", "--database-url", url)
    target = register(server.stubs, gaussian(), "normal-kept")
    server.stop(signal.SIGKILL)
    server.start()
    assert register(server.stubs, gaussian(), "normal-kept").digest == target.digest


def test_workers_do_not_get_the_url(
    url: str, serve: Callable[..., ServerProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEPHYRA_DATABASE_URL", url)
    server = serve(tmp_path / "data")
    register(server.stubs, gaussian(), "normal-secret")
    assert not (tmp_path / "data/gephyra.sqlite3").exists()
    (worker, *_) = server.workers()
    assert "GEPHYRA_DATABASE_URL" in Path(f"/proc/{server.pid}/environ").read_text()
    assert "GEPHYRA_DATABASE_URL" not in worker.environ()


def test_a_database_that_is_not_there_is_refused(tmp_path: Path) -> None:
    url = "postgresql+psycopg://someone:secret@127.0.0.1:1/x"
    code, said = start(tmp_path / "data", url)
    assert code == REFUSED
    assert "cannot open the database postgresql+psycopg://someone:***@127.0.0.1:1/x" in said
    assert "secret" not in said


@pytest.mark.chaos
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_job_goes_on_while_the_database_restarts(
    own: PostgresServer, serve: Callable[..., ServerProcess], tmp_path: Path, number: signal.Signals
) -> None:
    server = serve(tmp_path / "data", "--database-url", own.make())
    stubs = server.stubs
    target = register(stubs, gaussian(), "normal-restart")
    job = create_job(stubs, target.name, LONG)
    wait_for(lambda: get_job(stubs, job.name).metrics.step > 0, what="a first step")
    own.stop(number)
    time.sleep(2.0)
    own.start()

    def step() -> int:
        with suppress(grpc.RpcError):  # At most those that were under way.
            return get_job(stubs, job.name).metrics.step
        return -1

    wait_for(lambda: step() >= 0, what="an answer")
    before = step()
    wait_for(lambda: step() > before, what="further steps")
    stubs.training.CancelTrainingJob(training_service_pb2.CancelTrainingJobRequest(name=job.name))
    events = watch(stubs, job.name)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    # A write that was broken off costs the attempt; nothing costs the job.
    assert get_job(stubs, job.name).attempt <= 2
    assert events[-1].state == training_service_pb2.JOB_STATE_CANCELLED


@pytest.mark.chaos
def test_a_server_ends_in_time_without_its_database(
    own: PostgresServer, serve: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = serve(tmp_path / "data", "--database-url", own.make())
    target = register(server.stubs, gaussian(), "normal-alone")
    job = create_job(server.stubs, target.name, LONG)
    wait_for(lambda: get_job(server.stubs, job.name).metrics.step > 0, what="a first step")
    own.stop()
    assert server.stop(seconds=30) == 0
    own.start()
    server.start()
    # It was never told that the job stopped, and goes on all the same.
    wait_for(lambda: get_job(server.stubs, job.name).attempt == 2, what="the next attempt")
    assert server.stop(seconds=30) == 0
