"""A full disk is an error that says so, not corruption; once there is room again, all goes on (P14)."""

import contextlib
import errno
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import grpc
import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from gephyra.protos import dataset_service_pb2, target_service_pb2
from gephyra.protos import training_service_pb2 as pb
from gephyra.service.errors import status_failure
from gephyra.service.full import is_full
from tests.chaos.host import Host
from tests.support.refusal import refused
from tests.support.server import TINY, Stubs, create_job, gaussian, get_job, register, train, wait_for
from tests.support.tables import create, raw

LONG = pb.TrainingConfig(seconds=600.0, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_NONE)
_MIB = 1 << 20


class Disk(Protocol):
    """Room for a server, which can be taken away."""

    data: Path

    def fill(self, host: Host) -> None:
        """Leave no room."""

    def free(self, host: Host) -> None:
        """Give it back."""


class SmallDisk:
    """A file system of 64 MiB, filled by somebody else."""

    def __init__(self, folder: Path) -> None:
        self.data, self._other = folder / "data", folder / "filler"

    def fill(self, host: Host) -> None:
        with self._other.open("wb", buffering=0) as file:
            for size in (_MIB, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def free(self, host: Host) -> None:
        self._other.unlink()


class ShortFiles:
    """No file of the server and its workers may grow beyond 16 KiB: works where nothing can be mounted."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"

    def fill(self, host: Host) -> None:
        self._limit(host, 16 * 1024)

    def free(self, host: Host) -> None:
        self._limit(host, resource.RLIM_INFINITY)

    @staticmethod
    def _limit(host: Host, size: int) -> None:
        for process in (host.pid, *(worker.pid for worker in host.workers())):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture(params=["small disk", "short files"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "short files":
        yield ShortFiles(folder)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def host(tmp_path: Path, disk: Disk) -> Iterator[Host]:
    host = Host(tmp_path, ("tests.chaos.impatient", "60"), data=disk.data)
    host.start()
    yield host
    host.close()


@pytest.mark.chaos
def test_a_full_disk_is_told_and_forgotten(host: Host, disk: Disk) -> None:
    values = np.random.Generator(np.random.Philox(1)).standard_normal((200_000, 2))
    with grpc.insecure_channel(host.address) as channel:
        stubs = Stubs.on(channel)
        register(stubs, gaussian(2), "some-target")
        before = create(stubs, raw(values[:100]))
        job = create_job(stubs, "targets/some-target", LONG).name
        wait_for(lambda: get_job(stubs, job).metrics.step > 0, what="a first step")
        disk.fill(host)
        refusal = refused(lambda: create(stubs, raw(values)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL")
        # Training stops where it writes next: an event, or a checkpoint after five seconds.
        wait_for(lambda: "no room" in host.log.read_text() and len(host.workers()) < 2, what="the end of the worker")
        made = _create_what_fits(stubs)
        disk.free(host)
        wait_for(lambda: get_job(stubs, job).state == pb.JOB_STATE_FAILED, what="the failure of the job")
        assert status_failure(get_job(stubs, job).error).reason == "STORAGE_FULL"
        # As if nothing had been.
        create(stubs, raw(values))
        train(stubs, "targets/some-target", TINY)
        _check_kept(stubs, before, made)
    assert host.stop() == 0
    assert host.litter() == []
    with sqlite3.connect(disk.data / "gephyra.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    _start_without_room(host, disk)
    host.start()
    with grpc.insecure_channel(host.address) as channel:
        _check_kept(Stubs.on(channel), before, made)


def _start_without_room(host: Host, disk: Disk) -> None:
    if isinstance(disk, SmallDisk):
        disk.fill(host)
        host.launch()
        assert host.wait() == 4, host.log.read_text()[-3000:]
        assert "disk is full" in host.log.read_text().splitlines()[-1]
        disk.free(host)


def _create_what_fits(stubs: Stubs) -> list[str]:
    """Targets that were acknowledged although there is no room: small writes may still find some."""
    made: list[str] = []
    for number in range(5):
        request = target_service_pb2.CreateTargetRequest(target_id=f"target-{number}", definition=gaussian(3 + number))
        call = stubs.target.CreateTarget.future(request)
        if call.exception() is None:
            made.append(call.result().name)
        else:
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return made


def _check_kept(stubs: Stubs, dataset: dataset_service_pb2.Dataset, targets: list[str]) -> None:
    request = dataset_service_pb2.GetDatasetRequest(name=dataset.name)
    assert stubs.dataset.GetDataset(request).uid == dataset.uid
    wait_for(lambda: all(_ready(stubs, name) for name in targets), what="the checks of targets")


def _ready(stubs: Stubs, name: str) -> bool:
    target = stubs.target.GetTarget(target_service_pb2.GetTargetRequest(name=name))
    return target.state == target_service_pb2.Target.STATE_READY


def test_what_is_a_full_disk() -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    assert is_full(OSError(errno.ENOSPC, "No space left on device"))
    assert is_full(OperationalError("INSERT", None, full))
    assert not is_full(OSError(errno.EACCES, "Permission denied"))
    assert not is_full(OperationalError("INSERT", None, busy))
    assert not is_full(ValueError("full"))
