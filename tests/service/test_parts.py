"""Parts of the server by themselves: errors, conversions, definitions, artefacts, frames, chunks, limits of time."""

import asyncio
import hashlib
import socket
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from google.rpc import code_pb2, error_details_pb2
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gephyra.protos import report_pb2, sampler_service_pb2, tensor_pb2, worker_pb2
from gephyra.samplers.report import EuboSource, PolishReport, PreconditionReport, Report, Served, Times
from gephyra.service import convert, errors
from gephyra.service.artefacts import Artefacts, CorruptArtefact
from gephyra.service.cutting import Cutter
from gephyra.service.errors import DeadlineExceeded, Failure, Internal, InvalidArgument, Reason, Unavailable, Violation
from gephyra.service.failures import raise_failed
from gephyra.service.framing import MAX_FRAME_BYTES, FrameTooLarge, read_frame, receive_frame, write_frame
from gephyra.service.pool import Pool
from gephyra.service.reports import from_report, to_report
from gephyra.service.tensors import DTYPES, from_tensor, to_tensor
from gephyra.targets.program import Site
from tests.support.wire import METRICS, REPORT


def test_every_error_has_a_code_and_fits_the_trailers() -> None:
    kinds = [kind for kind in errors.ServiceError.__subclasses__()]
    assert len(kinds) == 9
    for kind in kinds:
        error = kind("R", "x" * 10_000, [Violation("f" * 300, "d" * 900)] * 100, "targets/t", {"key": "value"})
        status = errors.to_status(error)
        assert status.code != code_pb2.OK
        assert status.ByteSize() < 8 * 1024
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        assert status.details[0].Unpack(info)
        assert (info.reason, info.domain, dict(info.metadata)) == ("R", "gephyra", {"key": "value"})
        assert status.details[2].Unpack(bad)
        told = len(bad.field_violations) - 1
        assert bad.field_violations[-1].description == f"and {100 - told} more"


def test_at_most_32_violations_are_told() -> None:
    bad = error_details_pb2.BadRequest()
    status = errors.to_status(InvalidArgument("R", "why", [Violation(str(n), "d") for n in range(40)]))
    assert status.details[1].Unpack(bad)
    assert [v.field for v in bad.field_violations[:31]] == [str(n) for n in range(31)]
    assert bad.field_violations[31].description == "and 9 more"
    exactly = errors.to_status(InvalidArgument("R", "why", [Violation(str(n), "d") for n in range(32)]))
    assert exactly.details[1].Unpack(bad)
    assert [v.field for v in bad.field_violations] == [str(n) for n in range(32)]


def test_failures_survive_the_wire() -> None:
    failure = Failure(code_pb2.INVALID_ARGUMENT, "R", "why", "definition.program")
    assert errors.status_failure(errors.failure_status(failure)) == failure
    assert errors.status_failure(errors.failure_status(replace(failure, field=""))).field == ""


@pytest.mark.parametrize(
    ("code", "kind"), [(code_pb2.INVALID_ARGUMENT, InvalidArgument), (code_pb2.INTERNAL, Internal), (99, Internal)]
)
def test_failures_of_workers_become_errors(code: int, kind: type[Exception]) -> None:
    event = worker_pb2.WorkerEvent(failed=errors.failure_status(Failure(code, "R", "why", "x")))
    with pytest.raises(kind, match="why"):
        raise_failed(event)
    raise_failed(worker_pb2.WorkerEvent(done=worker_pb2.WorkerEvent.Done()))


def test_reports_and_metrics_survive_the_wire() -> None:
    # NaN is not equal to itself; its text is.
    assert repr(from_report(to_report(REPORT))) == repr(REPORT)
    bare = Report(-1.0, 0.1, -0.9, 0.2, 0.5, 0.6, 16, 0)
    for report in (
        bare,
        *(replace(bare, served=served, eubo_source=source) for served in Served for source in EuboSource),
    ):
        assert repr(from_report(to_report(report))) == repr(report)
    records = {"EvidenceReport": Report, "PreconditionReport": PreconditionReport, "PolishReport": PolishReport}
    for message, record in {**records, "TrainingTimes": Times}.items():
        wire = {field.name for field in report_pb2.DESCRIPTOR.message_types_by_name[message].fields}
        assert wire == {field.name for field in fields(record)}
    assert repr(convert.from_metrics(convert.to_metrics(METRICS))) == repr(METRICS)
    site = Site("theta", (2, 3), "float64", deterministic=True)
    assert convert.from_site(convert.to_site(site), "site") == site


@given(array=st.sampled_from(sorted(DTYPES)).flatmap(lambda name: arrays.arrays(name, arrays.array_shapes(min_dims=0))))
def test_arrays_survive_the_wire(array: Any) -> None:
    for layout in (array, array.T, array[..., ::-1] if array.ndim else array):
        back = from_tensor(to_tensor(layout), "x")
        assert (back.dtype, back.shape) == (layout.dtype, layout.shape)
        assert back.tobytes() == layout.tobytes()


@pytest.mark.parametrize(
    ("tensor", "field"),
    [
        (tensor_pb2.Tensor(shape=[1], data=b"1"), "x.dtype"),
        (tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_INT8, shape=[-1]), "x.shape"),
        (tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_INT8, shape=[2**62, 2**62]), "x.shape"),
        (tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_INT8, shape=[1] * 20, data=b"1"), "x.shape"),
        (tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_INT8, shape=[3], data=b"12"), "x.data"),
    ],
)
def test_impossible_arrays_name_their_field(tensor: tensor_pb2.Tensor, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        from_tensor(tensor, "x")


def test_types_that_do_not_travel_are_refused() -> None:
    with pytest.raises(ValueError, match="complex128"):
        to_tensor(np.zeros(1, complex))


def test_artefacts_appear_whole_and_are_checked_when_read(tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path)
    sha256 = artefacts.put(b"content")
    assert sha256 == hashlib.sha256(b"content").hexdigest() == artefacts.put(b"content")
    assert (artefacts.read(sha256), artefacts.size(sha256), artefacts.size("00")) == (b"content", 7, None)
    (tmp_path / "file").write_bytes(b"content")
    assert artefacts.put_file(tmp_path / "file") == sha256
    with artefacts.writer() as writer:
        writer.write(b"half")
    assert artefacts.size(hashlib.sha256(b"half").hexdigest()) is None
    assert list((tmp_path / "staging").iterdir()) == []
    (tmp_path / "staging" / "left").write_bytes(b"")
    artefacts.clean()
    assert list((tmp_path / "staging").iterdir()) == []
    artefacts.path(sha256).write_bytes(b"c0ntent")
    with pytest.raises(CorruptArtefact):
        artefacts.read(sha256)


def test_content_is_adopted_and_outlives_where_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, artefacts = Artefacts(tmp_path / "waiting"), Artefacts(tmp_path / "artefacts")
    for content, links in ((b"linked", True), (b"copied", False)):
        sha256 = waiting.put(content)
        with monkeypatch.context() as patch:
            if not links:
                patch.setattr("os.link", lambda *_: (_ for _ in ()).throw(PermissionError()))
            artefacts.adopt(waiting.path(sha256), sha256)
        waiting.remove(sha256)
        assert artefacts.read(sha256) == content
        artefacts.adopt(waiting.path(sha256), sha256)
    assert sorted(artefacts.digests()) == sorted(hashlib.sha256(each).hexdigest() for each in (b"linked", b"copied"))
    with pytest.raises(FileNotFoundError):
        artefacts.adopt(tmp_path / "nothing", "00" * 32)


async def test_frames_cross_in_both_ways_and_end_cleanly() -> None:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    with theirs:
        for message in (b"", b"one", bytes(300_000)):
            sending = asyncio.to_thread(theirs.sendall, write_frame(message))
            _, received = await asyncio.gather(sending, read_frame(reader))
            assert received == message
            writer.write(write_frame(message))
            assert await asyncio.to_thread(receive_frame, theirs) == message
        theirs.sendall(write_frame(b"broken off")[:-1])
    assert await read_frame(reader) is None
    writer.close()
    await writer.wait_closed()


async def test_absurd_frames_are_refused() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data((MAX_FRAME_BYTES + 1).to_bytes(4))
    with pytest.raises(FrameTooLarge):
        await read_frame(reader)


def block(start: int, count: int, dim: int = 2) -> worker_pb2.WorkerEvent.Block:
    """Draws whose every number is their index."""
    index = np.arange(start, start + count)
    site = tensor_pb2.NamedTensor(name="y", tensor=to_tensor(np.repeat(index, 3).reshape(count, 3).astype(np.int64)))
    x = np.repeat(index, dim).reshape(count, dim).astype(np.float32)
    return worker_pb2.WorkerEvent.Block(
        start_index=start, count=count, x=to_tensor(x), log_weight=to_tensor(index.astype(np.float64)), sites=[site]
    )


@given(sizes=st.lists(st.integers(1, 40), max_size=8), rows=st.integers(1, 50), start=st.integers(0, 1000))
def test_chunks_hold_every_draw_once_whatever_the_blocks(sizes: list[int], rows: int, start: int) -> None:
    cutter, chunks = Cutter(2, [Site("y", (3,), "int64")], start), []
    for n, size in enumerate(sizes):
        cutter.add(block(cutter.end, size))
        while cutter.ready(rows, last=n == len(sizes) - 1):
            chunks.append(sampler_service_pb2.DrawSamplesResponse.FromString(cutter.chunk(rows).drawn.message).chunk)
    assert [chunk.count for chunk in chunks[:-1]] == [rows] * max(len(chunks) - 1, 0)
    index = np.arange(start, start + sum(sizes))
    columns = (
        ([chunk.x for chunk in chunks], np.repeat(index, 2)),
        ([chunk.log_weight for chunk in chunks], index),
        ([chunk.sites[0].tensor for chunk in chunks], np.repeat(index, 3)),
    )
    for tensors, expected in columns:
        values = [from_tensor(tensor, "v").ravel() for tensor in tensors]
        np.testing.assert_array_equal(np.concatenate([*values, np.zeros(0)]), expected)


@pytest.mark.parametrize(
    "bad",
    [
        block(1, 4),
        block(0, 4, dim=3),
        worker_pb2.WorkerEvent.Block(start_index=0, count=4),
        worker_pb2.WorkerEvent.Block(start_index=0, count=5, x=block(0, 4).x, sites=block(0, 4).sites),
    ],
    ids=["a gap", "another dim", "no sites", "a wrong count"],
)
def test_blocks_of_a_worker_are_checked(bad: worker_pb2.WorkerEvent.Block) -> None:
    with pytest.raises(Internal, match="a worker sent"):
        Cutter(2, [Site("y", (3,), "int64")], 0).add(bad)


async def test_work_has_a_time_limit_and_a_dead_worker_is_told(tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path / "artefacts")
    path = str(artefacts.path(artefacts.put(b"")))
    pool = Pool(1, artefacts.folder, tmp_path)
    command = worker_pb2.WorkerCommand(check=worker_pb2.WorkerCommand.Check(target_path=path))
    with pytest.raises(DeadlineExceeded) as late:
        await pool.ask(command, seconds=0.05)
    assert late.value.reason == Reason.WORKER_TIMEOUT

    async def kill_when_there() -> None:
        # The first worker was killed above; this one has just been started by `ask`.
        while not (workers := [c for c in psutil.Process().children() if "gephyra.service.worker" in c.cmdline()]):
            await asyncio.sleep(0.01)
        workers[0].kill()

    killer = asyncio.create_task(kill_when_there())
    with pytest.raises(Unavailable) as died:
        await pool.ask(command, seconds=60)
    await killer
    assert died.value.reason == Reason.WORKER_DIED
    await pool.close()
    with pytest.raises(Unavailable) as closed:
        await pool.ask(command, seconds=60)
    assert closed.value.reason == Reason.SERVER_STOPPING
