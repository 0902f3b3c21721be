"""Registering, listing and finding; sizes; and that the two clients are one."""

import inspect
from typing import Any

import grpc
import numpy as np
import pytest

from gephyra.clients import aio, catalogue, errors, sync
from gephyra.clients.aio import AsyncClient
from gephyra.clients.sync import Client
from gephyra.clients.upload import INLINE_BYTES
from gephyra.clients.words import JobState, TargetState
from gephyra.protos import (
    blob_service_pb2,
    meta_service_pb2,
    sampler_service_pb2,
    target_service_pb2,
    tensor_pb2,
    training_service_pb2,
)
from tests.clients.fake import FakeServer, status

Target = target_service_pb2.Target


def test_register_waits_until_the_target_is_ready(fake: FakeServer, client: Client) -> None:
    checking = Target(name="targets/funnel", state=Target.STATE_CHECKING)
    ready = Target(name="targets/funnel", state=Target.STATE_READY, dim=10)
    fake.script["CreateTarget"] = lambda request, context: checking
    fake.script["GetTarget"] = lambda request, context: ready if fake.count("GetTarget") > 2 else checking
    assert client.register(catalogue("funnel"), wait=False).state is TargetState.CHECKING
    assert fake.count("GetTarget") == 0
    target = client.register(catalogue("funnel", dim=10), name="funnel")
    assert (target.state, target.dim) == (TargetState.READY, 10)
    assert fake.calls[1][1].target_id == "funnel"


def test_a_rejected_target_raises_with_the_servers_reason(fake: FakeServer, client: Client) -> None:
    fake.script["CreateTarget"] = lambda request, context: Target(
        name="targets/funnel",
        state=Target.STATE_REJECTED,
        error=status(grpc.StatusCode.FAILED_PRECONDITION, "point 3 differs by 0.5", "CAPTURE_MISMATCH"),
    )
    with pytest.raises(errors.TargetRejected, match="point 3") as caught:
        client.register(catalogue("funnel"))
    assert caught.value.reason == "CAPTURE_MISMATCH"


def test_a_check_that_never_ends_times_out(fake: FakeServer, client: Client) -> None:
    checking = Target(name="targets/funnel", state=Target.STATE_CHECKING)
    fake.script["CreateTarget"] = fake.script["GetTarget"] = lambda request, context: checking
    with pytest.raises(errors.DeadlineExceeded, match="still being checked"):
        client.register(catalogue("funnel"), timeout=0.1)


def test_large_arrays_are_moved_to_blobs_and_small_ones_stay(fake: FakeServer, client: Client) -> None:
    fake.script["CreateTarget"] = lambda request, context: Target(name="targets/x", state=Target.STATE_READY)

    def upload(request: list[Any], context: grpc.ServicerContext) -> blob_service_pb2.UploadBlobResponse:
        return blob_service_pb2.UploadBlobResponse(name=f"blobs/{request[0].header.sha256}")

    fake.script["UploadBlob"] = upload
    large = np.arange(INLINE_BYTES // 8 + 1, dtype=np.float64).reshape(1, -1)
    small = large[:, :-1]
    definition = catalogue("logistic-regression", x=large, y=small)
    client.register(definition)
    (_, parts), (_, create) = fake.calls
    assert parts[0].header.size_bytes == large.nbytes
    assert b"".join(part.data for part in parts[1:]) == large.tobytes()
    x, y = create.definition.catalogue.parameters
    assert x.array.blob.blob == f"blobs/{parts[0].header.sha256}"
    assert (x.array.blob.dtype, list(x.array.blob.shape)) == (tensor_pb2.DTYPE_FLOAT64, [1, large.size])
    assert y.array.inline.data == small.tobytes()
    assert definition.definition().catalogue.parameters[0].array.HasField("inline")


def test_a_message_over_4_mib_is_refused_before_it_is_sent(fake: FakeServer, client: Client) -> None:
    target = target_service_pb2.TargetDefinition()
    target.program.stablehlo.density.add(batch=1, serialized=bytes(4 * 1024 * 1024))

    class Captured:
        def definition(self) -> target_service_pb2.TargetDefinition:
            return target

    with pytest.raises(errors.MessageTooLarge) as caught:
        client.register(Captured())
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    assert int(caught.value.metadata["size_bytes"]) > int(caught.value.metadata["max_message_bytes"])
    assert fake.calls == []


def test_an_answer_over_4_mib_is_an_error_of_ours(fake: FakeServer, client: Client) -> None:
    fake.script["GetTarget"] = lambda request, context: Target(name="x" * (5 * 1024 * 1024))
    with pytest.raises(errors.ResourceExhausted):
        client.target("some-target")


def test_lists_are_read_page_by_page(fake: FakeServer, client: Client) -> None:
    def pages(kind: Any, field: str, entry: Any) -> Any:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            first = int(request.page_token or 0)
            names = [entry(name=f"names/{index}") for index in range(first, min(first + 2, 5))]
            return kind(**{field: names}, next_page_token=str(first + 2) if first + 2 < 5 else "")

        return answer

    fake.script["ListTargets"] = pages(target_service_pb2.ListTargetsResponse, "targets", Target)
    fake.script["ListTrainingJobs"] = pages(
        training_service_pb2.ListTrainingJobsResponse, "training_jobs", training_service_pb2.TrainingJob
    )
    fake.script["ListSamplers"] = pages(
        sampler_service_pb2.ListSamplersResponse, "samplers", sampler_service_pb2.Sampler
    )
    expected = [f"names/{index}" for index in range(5)]
    assert [target.name for target in client.targets()] == expected
    assert [job.name for job in client.jobs()] == expected
    assert [sampler.name for sampler in client.samplers()] == expected
    assert fake.count("ListTargets") == 3


def test_evaluate_keeps_the_type_of_the_points(fake: FakeServer, client: Client) -> None:
    fake.script["GetTarget"] = lambda request, context: Target(name=request.name, dim=2)
    fake.script["EvaluateTarget"] = lambda request, context: target_service_pb2.EvaluateTargetResponse(
        log_density=tensor_pb2.Tensor(dtype=request.x.dtype, shape=[1], data=bytes(8)),
        score=request.x,
    )
    target = client.target("some-target")
    evaluation = target.evaluate([1.0, 2.0])
    np.testing.assert_array_equal(evaluation.score, [[1.0, 2.0]])
    assert evaluation.log_density.shape == (1,)
    with pytest.raises(errors.DataLoss, match="log_density"):
        target.evaluate(np.zeros((1, 2), np.float32))


def test_a_file_is_sent_in_pieces_behind_a_header(fake: FakeServer, client: Client, tmp_path: Any) -> None:
    fake.script["ImportSampler"] = lambda request, context: sampler_service_pb2.Sampler(name="samplers/imported")
    path = tmp_path / "sampler.gephyra"
    path.write_bytes(bytes(600_000))
    assert client.load(path, name="my-target").name == "samplers/imported"
    ((_, parts),) = fake.calls
    assert parts[0].header.target_id == "my-target"
    assert [len(part.data) for part in parts[1:]] == [262_144, 262_144, 75_712]


def test_info_is_the_servers_word(fake: FakeServer, client: Client) -> None:
    family = meta_service_pb2.CatalogueFamily(family="funnel", description="Neal's", parameters=["dim"])
    fake.script["GetServerInfo"] = lambda request, context: meta_service_pb2.GetServerInfoResponse(
        version="9.9", limits=meta_service_pb2.Limits(max_draws=7), catalogue=[family], methods=["dbs"]
    )
    info = client.info()
    assert (info.version, info.limits.max_draws, info.methods) == ("9.9", 7, ("dbs",))
    assert info.catalogue["funnel"].parameters == ("dim",)


def test_a_closed_client_says_so(fake: FakeServer) -> None:
    client = Client(fake.address)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.info()


async def test_a_closed_asyncio_client_says_so(fake: FakeServer) -> None:
    client = AsyncClient(fake.address)
    await client.close()
    with pytest.raises(errors.ServerGone, match="closed"):
        await client.info()


TWINS = [
    (aio.AsyncClient, sync.Client),
    (aio.AsyncJob, sync.Job),
    (aio.AsyncDataset, sync.Dataset),
    (aio.AsyncTargetHandle, sync.TargetHandle),
    (aio.AsyncSamplerHandle, sync.SamplerHandle),
]


@pytest.mark.parametrize(("asynchronous", "synchronous"), TWINS, ids=lambda kind: kind.__name__)
def test_the_two_clients_have_the_same_names_and_arguments(asynchronous: type, synchronous: type) -> None:
    def public(kind: type) -> dict[str, list[tuple[str, Any, Any]]]:
        """Name, kind and default of each argument, by method."""
        methods = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
        return {
            name: [(each.name, each.kind, each.default) for each in inspect.signature(method).parameters.values()]
            for name, method in methods.items()
            if callable(method)
        }

    assert public(asynchronous) == public(synchronous)


def test_every_state_of_the_wire_has_its_name() -> None:
    for number in training_service_pb2.JobState.values():
        assert f"JOB_STATE_{JobState.of(number)}" == training_service_pb2.JobState.Name(number)
    for state in Target.State.values():
        assert f"STATE_{TargetState.of(state)}" == Target.State.Name(state)
    assert JobState.of(99) is JobState.UNSPECIFIED
    assert TargetState.of(99) is TargetState.UNSPECIFIED


def test_a_bare_function_is_no_definition(client: Client) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"from_numpyro.*got function"):
        client.register(lambda x: x, name="bare")  # type: ignore[arg-type]
