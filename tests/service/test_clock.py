"""Whatever is done to the system's clock, time goes forward, jobs end, and nothing is forgotten too early."""

import hashlib
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gephyra.protos import blob_service_pb2, sampler_service_pb2, training_service_pb2
from gephyra.service.clock import Clock
from tests.support.server import (
    PATIENCE,
    TINY,
    ServerProcess,
    create_job,
    gaussian,
    get_job,
    register,
    wait_for,
)  # fmt: skip

HOUR = 3600
ONCE = "7a0f5d3e-0d0c-4c3c-9f0e-5b1a3c2d4e5f"
PARTS = b"the first part", b" and the rest"
WHOLE = b"".join(PARTS)


@given(steps=st.lists(st.tuples(st.integers(0, 10**12), st.integers(-(10**14), 10**14)), min_size=1, max_size=20))
def test_time_never_goes_back(steps: list[tuple[int, int]]) -> None:
    """Each step lets some nanoseconds pass and then sets the system's clock by some more."""
    passed, ahead = 0, 10**18
    clock = Clock(lambda: ahead + passed, lambda: passed)
    times = [clock()]
    for seconds, jump in steps:
        passed, ahead = passed + seconds, ahead + jump
        times.append(clock())
        assert times[-1] >= (ahead + passed) // 1000
    assert times == sorted(times)


def test_a_clock_that_was_set_back_is_met_again() -> None:
    passed, ahead = 0, HOUR
    clock = Clock(lambda: (ahead + passed) * 10**9, lambda: passed * 10**9)
    ahead = 0
    times = []
    for passed in range(0, 3 * HOUR, HOUR // 2):
        times.append(clock() / 1e6 - passed)
    assert times == [HOUR, 0.75 * HOUR, 0.5 * HOUR, 0.25 * HOUR, 0, 0]


class Wall:
    """The system's clock of a server."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set(0)

    def set(self, ahead: int) -> None:
        """So many seconds ahead of the truth."""
        new = self.file.with_suffix(".new")
        new.write_text(str(ahead))
        new.replace(self.file)


@pytest.fixture
def wall(tmp_path: Path) -> Wall:
    return Wall(tmp_path / "clock")


@pytest.fixture
def server(tmp_path: Path, wall: Wall) -> Iterator[ServerProcess]:
    timings = {"metrics": 0.02, "bookmark": 0.1, "heartbeat": 0.1, "lease": 60.0, "compact": 0.1}
    with ServerProcess(tmp_path / "data", clock=str(wall.file), timings=timings) as server:
        yield server


class Seen:
    """What one watch brings, in the background."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.events: list[training_service_pb2.TrainingEvent] = []
        request = training_service_pb2.WatchTrainingJobRequest(name=name)
        self._stream = server.stubs.training.WatchTrainingJob(request, timeout=PATIENCE)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        self.events.extend(response.event for response in self._stream)

    def more(self, count: int) -> None:
        """Until so many more came."""
        wanted = len(self.events) + count
        wait_for(lambda: len(self.events) >= wanted or not self.thread.is_alive(), what="more events")
        assert self.thread.is_alive(), "the job is over too early"


def send_half(server: ServerProcess) -> None:
    """Begin an upload and break it off."""
    sha256 = hashlib.sha256(WHOLE).hexdigest()
    header = blob_service_pb2.UploadBlobRequest.Header(sha256=sha256, size_bytes=len(WHOLE))
    requests = [blob_service_pb2.UploadBlobRequest(header=header), blob_service_pb2.UploadBlobRequest(data=PARTS[0])]
    with pytest.raises(grpc.RpcError):
        server.stubs.blob.UploadBlob(iter(requests), timeout=PATIENCE)


def received(server: ServerProcess) -> int:
    name = f"blobs/{hashlib.sha256(WHOLE).hexdigest()}"
    return server.stubs.blob.GetBlob(blob_service_pb2.GetBlobRequest(name=name)).received_bytes


@pytest.mark.chaos
def test_jumps_of_an_hour_both_ways_do_no_harm(server: ServerProcess, wall: Wall) -> None:
    target = register(server.stubs, gaussian(), "normal")
    send_half(server)
    config = training_service_pb2.TrainingConfig()
    config.CopyFrom(TINY)
    config.iterations = 600
    job = create_job(server.stubs, target.name, config, request_id=ONCE)
    seen = Seen(server, job.name)
    for ahead in (HOUR, 0, -HOUR, 0):
        seen.more(3)
        wall.set(ahead)
    seen.thread.join(PATIENCE)

    ended = get_job(server.stubs, job.name)
    assert (ended.state, ended.attempt) == (training_service_pb2.JOB_STATE_SUCCEEDED, 1), ended.error
    stored = [event for event in seen.events if not event.HasField("bookmark")]
    assert [event.sequence for event in stored] == list(range(1, len(stored) + 1))
    for earlier, later in pairwise(stored):
        assert earlier.time.ToNanoseconds() <= later.time.ToNanoseconds()
    times = [each.ToNanoseconds() for each in (ended.create_time, ended.start_time, ended.end_time)]
    assert times == sorted(times)
    assert times[2] - times[0] < 3 * HOUR * 10**9
    assert received(server) == len(PARTS[0])
    assert create_job(server.stubs, target.name, config, request_id=ONCE).name == job.name
    draws = sampler_service_pb2.DrawSamplesRequest(sampler=ended.sampler, count=10)
    assert list(server.stubs.sampling.DrawSamples(draws, timeout=PATIENCE))


@pytest.mark.slow
def test_a_server_that_is_started_an_hour_earlier_goes_on(server: ServerProcess, wall: Wall) -> None:
    wall.set(HOUR)
    target = register(server.stubs, gaussian(), "normal")
    send_half(server)
    config = training_service_pb2.TrainingConfig()
    config.CopyFrom(TINY)
    config.iterations = 600
    job = create_job(server.stubs, target.name, config, request_id=ONCE)
    wait_for(lambda: get_job(server.stubs, job.name).state == training_service_pb2.JOB_STATE_RUNNING, what="the start")
    assert server.stop() == 0
    wall.set(-HOUR)
    server.start()
    seen = Seen(server, job.name)
    seen.thread.join(PATIENCE)
    ended = get_job(server.stubs, job.name)
    assert ended.state == training_service_pb2.JOB_STATE_SUCCEEDED, ended.error
    assert ended.create_time.ToNanoseconds() <= ended.start_time.ToNanoseconds() <= ended.end_time.ToNanoseconds()
    assert received(server) == len(PARTS[0])
    assert create_job(server.stubs, target.name, config, request_id=ONCE).name == job.name
