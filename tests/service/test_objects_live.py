"""A server whose artefacts are kept by a store of objects: another fills its folder from there, faults are told."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import grpc
import numpy as np
import pytest

from gephyra.protos import sampler_service_pb2, tensor_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.service.administer import main
from tests.support.refusal import refused
from tests.support.s3 import s3_bucket
from tests.support.server import TINY, ServerProcess, Stubs, create_job, gaussian, get_job, register, train, wait_for
from tests.support.tables import create, raw
from tests.support.wire import square_program

FOUND, REFUSED = 1, 4


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of an empty store of objects that a server can reach."""
    if request.param == "file":
        yield f"file://{tmp_path}/objects"
        return
    with s3_bucket() as (url, environment):
        for name in environment:
            monkeypatch.setenv(name, environment[name])
        yield url


def draw(stubs: Stubs, sampler: str) -> str:
    request = sampler_service_pb2.DrawSamplesRequest(sampler=sampler, count=50, seed=3)
    *_, last = stubs.sampling.DrawSamples(request)
    return last.trailer.sha256


@pytest.mark.slow
def test_a_second_server_with_an_empty_folder_serves_the_samplers(
    url: str, tmp_path: Path, serve: Callable[..., ServerProcess], capsys: pytest.CaptureFixture[str]
) -> None:
    first = serve(tmp_path / "first", "--artefacts-url", url)
    array = tensor_pb2.DataArray(inline=tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_FLOAT64, shape=[3], data=bytes(24)))
    on = register(first.stubs, square_program(arrays=[array]), "with-an-array")
    sampler = train(first.stubs, on.name).name
    rows = np.random.Generator(np.random.Philox(1)).standard_normal((40, 2))
    dataset = create(first.stubs, raw(rows)).name
    drawn = draw(first.stubs, sampler)
    assert first.stop() == 0
    second = tmp_path / "second"
    second.mkdir()
    shutil.copy(tmp_path / "first/gephyra.sqlite3", second)
    assert main(["check", "--data", str(second), "--database-url", "", "--artefacts-url", url]) == 0, (
        capsys.readouterr()
    )
    server = serve(second, "--artefacts-url", url)
    assert not (second / "artefacts/sha256").exists()
    assert draw(server.stubs, sampler) == drawn
    # The definition, its array and the sampler came, nothing else.
    assert len([path for path in (second / "artefacts").rglob("*") if path.is_file()]) == 3
    request = pb.CreateTrainingJobRequest(
        dataset=dataset, denoising=pb.DenoisingConfig(iterations=2, width=8, blocks=1)
    )
    job = server.stubs.training.CreateTrainingJob(request).name
    wait_for(lambda: get_job(server.stubs, job).state in (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED), what="an end")
    assert get_job(server.stubs, job).state == pb.JOB_STATE_SUCCEEDED, get_job(server.stubs, job).error


@pytest.mark.slow
def test_a_folder_from_before_is_brought_to_the_objects(
    tmp_path: Path, serve: Callable[..., ServerProcess], capsys: pytest.CaptureFixture[str]
) -> None:
    url, data = f"file://{tmp_path}/objects", tmp_path / "data"
    server = serve(data)
    register(server.stubs, gaussian(2), "some-target")
    assert server.stop() == 0
    server = serve(data, "--artefacts-url", url)
    assert server.stop() == 0
    here = {path.name for path in (data / "artefacts/sha256").rglob("*") if path.is_file()}
    assert {path.name for path in (tmp_path / "objects/sha256").rglob("*") if path.is_file()} == here != set()
    # From now on the folder is a copy, which goes with that store only; and the store with that database only.
    for words in ([], ["--artefacts-url", f"file://{tmp_path}/others"]):
        assert "are kept at file" in refused_start(data, *words)
    assert "belong to another database" in refused_start(tmp_path / "strange", "--artefacts-url", url)
    (path,) = (path for path in (tmp_path / "objects/sha256").rglob("*") if path.is_file())
    path.unlink()
    capsys.readouterr()
    assert main(["check", "--data", str(data), "--database-url", "", "--artefacts-url", url]) == FOUND
    assert f"missing: {url}: sha256/" in capsys.readouterr().out


@pytest.mark.slow
def test_a_store_that_is_away_loses_nothing(tmp_path: Path, serve: Callable[..., ServerProcess]) -> None:
    objects, away = tmp_path / "objects", tmp_path / "away"
    server = serve(tmp_path / "data", "--artefacts-url", f"file://{objects}")
    register(server.stubs, gaussian(2), "some-target")
    job = create_job(server.stubs, "targets/some-target", TINY).name
    objects.rename(away)
    # A file where the folder was.
    objects.write_bytes(b"")
    refusal = refused(lambda: register(server.stubs, gaussian(3), "other-target"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "ARTEFACTS_UNAVAILABLE")
    assert refusal.retry_seconds == 5
    wait_for(lambda: "what was trained cannot be stored" in log(server), what="the end of training")
    assert get_job(server.stubs, job).state == pb.JOB_STATE_RUNNING
    objects.unlink()
    away.rename(objects)
    wait_for(lambda: get_job(server.stubs, job).state == pb.JOB_STATE_SUCCEEDED, what="success")
    register(server.stubs, gaussian(3), "other-target")
    with closing(sqlite3.connect(tmp_path / "data/gephyra.sqlite3")) as rows:
        assert rows.execute("SELECT attempt FROM jobs").fetchall() == [(1,)]


@pytest.mark.slow
def test_a_job_whose_content_cannot_be_had_waits(tmp_path: Path, serve: Callable[..., ServerProcess]) -> None:
    objects, away, data = tmp_path / "objects", tmp_path / "away", tmp_path / "data"
    server = serve(data, "--artefacts-url", f"file://{objects}")
    register(server.stubs, gaussian(2), "some-target")
    objects.rename(away)
    objects.write_bytes(b"")
    shutil.rmtree(data / "artefacts/sha256")
    job = create_job(server.stubs, "targets/some-target", TINY).name
    wait_for(lambda: "attempt 1 of" in log(server), what="a refusal")
    objects.unlink()
    away.rename(objects)
    wait_for(lambda: get_job(server.stubs, job).state == pb.JOB_STATE_SUCCEEDED, what="success")


def refused_start(data: Path, *words: str) -> str:
    """What a server says that will not run."""
    command = [sys.executable, "-m", "gephyra.service", "--data", str(data), "--listen", "127.0.0.1:0", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == REFUSED
    return done.stderr


def log(server: ServerProcess) -> str:
    return (server.private / "log").read_text()
