"""Each wrong request gets its own reason, the field at fault and a sentence, and the server goes on."""

import uuid
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from gephyra.protos import (
    blob_service_pb2,
    meta_service_pb2,
    sampler_service_pb2,
    target_service_pb2,
    tensor_pb2,
    training_service_pb2,
)
from gephyra.service.tensors import to_tensor
from tests.support.refusal import refused
from tests.support.server import Stubs, create_job, gaussian, register
from tests.support.wire import square_program

INVALID, NOT_FOUND, EXISTS = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS


def with_blob(blob: str, shape: list[int]) -> target_service_pb2.TargetDefinition:
    array = tensor_pb2.BlobArray(blob=blob, dtype=tensor_pb2.DTYPE_FLOAT64, shape=shape)
    return square_program(arrays=[tensor_pb2.DataArray(blob=array)])


def test_missing_resources_are_named(stubs: Stubs) -> None:
    calls: dict[str, tuple[Callable[[], Any], str]] = {
        "targets/nothing": (lambda: create_job(stubs, "targets/nothing"), "TARGET_NOT_FOUND"),
        "trainingJobs/nothing": (
            lambda: stubs.training.GetTrainingJob(
                training_service_pb2.GetTrainingJobRequest(name="trainingJobs/nothing")
            ),
            "JOB_NOT_FOUND",
        ),
        "samplers/nothing": (
            lambda: list(
                stubs.sampling.DrawSamples(sampler_service_pb2.DrawSamplesRequest(sampler="samplers/nothing", count=1))
            ),
            "SAMPLER_NOT_FOUND",
        ),
        f"blobs/{'0' * 64}": (
            lambda: stubs.target.CreateTarget(
                target_service_pb2.CreateTargetRequest(definition=with_blob(f"blobs/{'0' * 64}", [1]))
            ),
            "BLOB_NOT_FOUND",
        ),
    }
    for name, (call, reason) in calls.items():
        refusal = refused(call)
        assert (refusal.code, refusal.reason, refusal.resource) == (NOT_FOUND, reason, name)


def test_a_name_in_the_wrong_form_is_no_missing_resource(stubs: Stubs) -> None:
    refusal = refused(lambda: create_job(stubs, "nothing"))
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "FIELD_INVALID", ("target",))


def test_draws_have_bounds(stubs: Stubs, sampler: sampler_service_pb2.Sampler) -> None:
    most = stubs.meta.GetServerInfo(meta_service_pb2.GetServerInfoRequest()).limits.max_draws
    assert most == 10**7
    for count in (0, -1, most + 1):
        request = sampler_service_pb2.DrawSamplesRequest(sampler=sampler.name, count=count)
        refusal = refused(lambda request=request: list(stubs.sampling.DrawSamples(request)))  # type: ignore[misc]
        assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "DRAWS_OUT_OF_RANGE", ("count",))
    for count in (1, 10**6 + 1):
        estimate = sampler_service_pb2.EstimateEvidenceRequest(sampler=sampler.name, count=count)
        refusal = refused(lambda estimate=estimate: stubs.sampling.EstimateEvidence(estimate))  # type: ignore[misc]
        assert (refusal.reason, refusal.fields) == ("DRAWS_OUT_OF_RANGE", ("count",))


def test_a_name_with_other_content_is_taken(stubs: Stubs, normal: target_service_pb2.Target) -> None:
    request = target_service_pb2.CreateTargetRequest(target_id="normal-shared", definition=gaussian(4))
    refusal = refused(lambda: stubs.target.CreateTarget(request))
    assert (refusal.code, refusal.reason, refusal.resource) == (EXISTS, "TARGET_NAME_TAKEN", normal.name)


def test_a_target_in_use_is_kept(stubs: Stubs, sampler: sampler_service_pb2.Sampler) -> None:
    request = target_service_pb2.DeleteTargetRequest(name=sampler.target)
    refusal = refused(lambda: stubs.target.DeleteTarget(request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_IN_USE")
    assert sampler.name in refusal.message


def test_a_request_id_belongs_to_one_request(stubs: Stubs, normal: target_service_pb2.Target) -> None:
    request_id = str(uuid.uuid4())
    job = create_job(stubs, normal.name, request_id=request_id)
    assert create_job(stubs, normal.name, request_id=request_id).name == job.name
    other = training_service_pb2.TrainingConfig(iterations=21)
    refusal = refused(lambda: create_job(stubs, normal.name, other, request_id))
    assert (refusal.reason, refusal.fields) == ("REQUEST_ID_REUSED", ("request_id",))
    assert refused(lambda: create_job(stubs, normal.name, request_id="mine")).fields == ("request_id",)
    stubs.training.CancelTrainingJob(training_service_pb2.CancelTrainingJobRequest(name=job.name))


def test_pages_refuse_foreign_tokens(stubs: Stubs, normal: target_service_pb2.Target) -> None:
    register(stubs, gaussian(), "another-target")
    listed = stubs.target.ListTargets(target_service_pb2.ListTargetsRequest(page_size=1))
    assert listed.next_page_token
    for token in ("nonsense", listed.next_page_token):
        request = training_service_pb2.ListTrainingJobsRequest(page_token=token)
        refusal = refused(lambda request=request: stubs.training.ListTrainingJobs(request))  # type: ignore[misc]
        assert (refusal.reason, refusal.fields) == ("PAGE_TOKEN_INVALID", ("page_token",))
    negative = target_service_pb2.ListTargetsRequest(page_size=-1)
    assert refused(lambda: stubs.target.ListTargets(negative)).fields == ("page_size",)


def test_blobs_must_be_what_their_header_says(stubs: Stubs) -> None:
    def upload(sha256: str, size: int, *parts: bytes) -> Callable[[], Any]:
        header = blob_service_pb2.UploadBlobRequest.Header(sha256=sha256, size_bytes=size)
        messages = [blob_service_pb2.UploadBlobRequest(header=header)]
        messages += [blob_service_pb2.UploadBlobRequest(data=part) for part in parts]
        return lambda: stubs.blob.UploadBlob(iter(messages))

    assert refused(upload("0" * 64, 3, b"abc")).fields == ("header.sha256",)
    assert refused(upload("0" * 64, 4, b"abc")).reason == "BLOB_MISMATCH"
    assert refused(upload("0" * 64, 2, b"abc")).reason == "BLOB_MISMATCH"
    assert refused(upload("zz", 3, b"abc")).reason == "FIELD_INVALID"
    assert refused(upload("0" * 64, 2**40)).fields == ("header.size_bytes",)
    assert refused(lambda: stubs.blob.UploadBlob(iter(()))).fields == ("header",)


def test_a_damaged_sampler_file_is_refused(stubs: Stubs, sampler: sampler_service_pb2.Sampler) -> None:
    request = sampler_service_pb2.ExportSamplerRequest(name=sampler.name)
    content = b"".join(part.data for part in stubs.sampler.ExportSampler(request))

    def bring_in(content: bytes) -> Callable[[], Any]:
        header = sampler_service_pb2.ImportSamplerRequest.Header()
        messages = [sampler_service_pb2.ImportSamplerRequest(header=header)]
        messages += [sampler_service_pb2.ImportSamplerRequest(data=content)]
        return lambda: stubs.sampler.ImportSampler(iter(messages))

    for damaged in (b"", content[:100], content[:-1], content.replace(b"sampler/bridge", b"sampler/brigde")):
        refusal = refused(bring_in(damaged))
        assert (refusal.code, refusal.reason) == (INVALID, "SAMPLER_FILE_INVALID")
        assert refusal.fields == ("data",)


def test_points_must_fit_the_target(stubs: Stubs, normal: target_service_pb2.Target) -> None:
    for x, path in (
        (np.zeros((2, 4)), "x.shape"),
        (np.zeros((0, 3)), "x.shape"),
        (np.zeros((5000, 3)), "x.shape"),
        (np.zeros((2, 3), np.int64), "x.dtype"),
    ):
        request = target_service_pb2.EvaluateTargetRequest(name=normal.name, x=to_tensor(x))
        refusal = refused(lambda request=request: stubs.target.EvaluateTarget(request))  # type: ignore[misc]
        assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", (path,))
    truncated = tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_FLOAT32, shape=[2, 3], data=b"1234")
    request = target_service_pb2.EvaluateTargetRequest(name=normal.name, x=truncated)
    assert refused(lambda: stubs.target.EvaluateTarget(request)).fields == ("x.data",)


def test_a_message_over_the_limit_gets_grpcs_own_error(stubs: Stubs) -> None:
    blob = blob_service_pb2.UploadBlobRequest(data=bytes(5 << 20))
    with pytest.raises(grpc.RpcError) as caught:
        stubs.blob.UploadBlob(iter([blob]))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_server_goes_on(stubs: Stubs) -> None:
    assert stubs.meta.GetServerInfo(meta_service_pb2.GetServerInfoRequest()).version
