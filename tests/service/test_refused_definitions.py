"""Each wrong definition and configuration gets its own reason, the field at fault and a sentence."""

import pickle
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2

from gephyra.protos import (
    program_pb2,
    target_service_pb2,
    tensor_pb2,
    training_service_pb2,
)
from gephyra.service.tensors import to_tensor
from tests.support.refusal import refused
from tests.support.server import Stubs, create_job, register
from tests.support.wire import square_program

INVALID, NOT_FOUND, EXISTS = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS


def modules(content: bytes) -> target_service_pb2.TargetDefinition:
    """A StableHLO program whose only module is `content`."""
    module = program_pb2.StableHloModule(batch=16, serialized=content)
    return square_program(aten=None, stablehlo=program_pb2.StableHloProgram(density=[module]))


def catalogue(family: str, **values: float) -> target_service_pb2.TargetDefinition:
    parameters = [target_service_pb2.CatalogueParameter(name=n, int_value=int(v)) for n, v in values.items()]
    return target_service_pb2.TargetDefinition(
        catalogue=target_service_pb2.CatalogueTarget(family=family, parameters=parameters)
    )


AT_ONCE = {
    "a pickle": (modules(pickle.dumps([1, 2])), "PROGRAM_FORMAT_REFUSED", "program.stablehlo.density[0].serialized"),
    "a .pt2": (modules(b"PK\x03\x04rest"), "PROGRAM_FORMAT_REFUSED", "program.stablehlo.density[0].serialized"),
    "dim 0": (square_program(dim=0), "DIM_OUT_OF_RANGE", "program.dim"),
    "a huge dim": (square_program(dim=10**6), "DIM_OUT_OF_RANGE", "program.dim"),
    "dim 0 of the catalogue": (catalogue("gaussian", dim=0), "DIM_OUT_OF_RANGE", "catalogue.parameters.dim"),
    "no definition": (target_service_pb2.TargetDefinition(), "FIELD_INVALID", ""),
    "no body": (square_program(aten=None), "PROGRAM_MALFORMED", "program"),
    "no dtype": (square_program(dtype=0), "FIELD_INVALID", "program.dtype"),
    "an unknown family": (catalogue("gauss"), "UNKNOWN_FAMILY", "catalogue.family"),
    "an unknown parameter": (catalogue("gaussian", size=3), "PARAMETER_INVALID", "catalogue.parameters.size"),
    "a damaged array": (
        square_program(
            arrays=[
                tensor_pb2.DataArray(
                    inline=tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_FLOAT32, shape=[3], data=b"12345678")
                )
            ]
        ),
        "FIELD_INVALID",
        "program.arrays[0].inline.data",
    ),
    "too large sites": (
        square_program(sites=[program_pb2.Site(name="y", shape=[10**6], dtype=tensor_pb2.DTYPE_FLOAT64)]),
        "PROGRAM_TOO_LARGE",
        "program.sites",
    ),
}


@pytest.mark.parametrize("case", AT_ONCE)
def test_bad_definitions_are_refused_at_once(stubs: Stubs, case: str) -> None:
    definition, reason, path = AT_ONCE[case]
    request = target_service_pb2.CreateTargetRequest(definition=definition)
    refusal = refused(lambda: stubs.target.CreateTarget(request))
    assert (refusal.code, refusal.reason) == (INVALID, reason)
    assert refusal.fields == (f"definition.{path}".rstrip("."),)
    assert len(refusal.message) > 20


def altered_points(name: str, change: Callable[[Any], Any]) -> program_pb2.CheckPoints:
    x = np.random.Generator(np.random.Philox(1)).standard_normal((16, 2))
    arrays = {"x": x, "log_density": -(x**2).sum(1), "score": -2 * x}
    arrays[name] = change(arrays[name])
    return program_pb2.CheckPoints(**{key: to_tensor(value) for key, value in arrays.items()})


def nodes(*ops: str) -> program_pb2.AtenProgram:
    graph = program_pb2.AtenGraph(
        inputs=1,
        nodes=[program_pb2.AtenNode(op=op, args=[program_pb2.AtenValue(ref=n)]) for n, op in enumerate(ops)],
        outputs=[program_pb2.AtenValue(ref=len(ops))],
    )
    return program_pb2.AtenProgram(density=graph)


BY_THE_WORKER = {
    "an op outside the allowlist": (square_program(aten=nodes("aten.bernoulli.default")), "PROGRAM_OP_NOT_ALLOWED"),
    "an op that is none": (square_program(aten=nodes("os.system")), "PROGRAM_OP_NOT_ALLOWED"),
    "a truncated graph": (square_program(aten=nodes()), "PROGRAM_MALFORMED"),
    "a truncated module": (modules(b"\x00" * 40), "PROGRAM_MALFORMED"),
    "wrong log densities": (
        square_program(check_points=altered_points("log_density", lambda v: v + 1e-6)),
        "CAPTURE_MISMATCH",
    ),
    "wrong scores": (square_program(check_points=altered_points("score", lambda v: 1.001 * v)), "CAPTURE_MISMATCH"),
    "NaN everywhere": (
        square_program(
            aten=nodes(
                "aten.neg.default", "aten.abs.default", "aten.neg.default", "aten.log.default", "aten.sum.default"
            ),
            check_points=altered_points("log_density", lambda v: v * np.nan),
        ),
        "NON_FINITE_LOG_DENSITY",
    ),
}


@pytest.mark.parametrize("case", BY_THE_WORKER)
def test_bad_programs_are_rejected_by_the_check(stubs: Stubs, case: str) -> None:
    assert_rejected(stubs, *BY_THE_WORKER[case])


def test_a_module_that_calls_a_foreign_library_is_rejected(stubs: Stubs) -> None:
    """The exporter would not make it; a forger does not use the exporter's checks."""
    jax = pytest.importorskip("jax")
    from jax import export, ffi

    shape = jax.ShapeDtypeStruct((16, 2), np.float64)
    foreign: Any = ffi.ffi_call("forged_call", jax.ShapeDtypeStruct((16,), np.float64))
    unchecked = [export.DisabledSafetyCheck.custom_call("forged_call")]
    with jax.enable_x64(True):
        forged = export.export(jax.jit(lambda x: (foreign(x), x)), disabled_checks=unchecked)(shape).serialize()
    assert_rejected(stubs, modules(bytes(forged)), "PROGRAM_CALL_NOT_ALLOWED")


def assert_rejected(stubs: Stubs, definition: target_service_pb2.TargetDefinition, reason: str) -> None:
    """The definition is registered, checked and REJECTED for this reason."""
    target = register(stubs, definition)
    assert target.state == target_service_pb2.Target.STATE_REJECTED
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert target.error.details[0].Unpack(info)
    assert target.error.details[1].Unpack(bad)
    assert info.reason == reason
    assert bad.field_violations[0].field.startswith("definition.program")
    assert len(target.error.message) > 20
    # It stays what it is, and cannot be used.
    assert register(stubs, definition, target.name.removeprefix("targets/")) == target
    assert refused(lambda: create_job(stubs, target.name)).reason == "TARGET_REJECTED"


def test_a_good_program_is_accepted(stubs: Stubs) -> None:
    """The negative control of the cases above."""
    target = register(stubs, square_program())
    assert target.state == target_service_pb2.Target.STATE_READY, target.error


CONFIGS: dict[str, tuple[dict[str, Any], str, str]] = {
    "negative seconds": ({"seconds": -1.0}, "BUDGET_OUT_OF_RANGE", "config.seconds"),
    "no seconds": ({"seconds": 0.0}, "BUDGET_OUT_OF_RANGE", "config.seconds"),
    "endless": ({"seconds": float("inf")}, "BUDGET_OUT_OF_RANGE", "config.seconds"),
    "not a number": ({"seconds": float("nan")}, "BUDGET_OUT_OF_RANGE", "config.seconds"),
    "no iterations": ({"iterations": 0}, "BUDGET_OUT_OF_RANGE", "config.iterations"),
    "an unknown method": ({"method": 99}, "UNKNOWN_METHOD", "config.method"),
    "an unknown loss": ({"loss": 99}, "UNKNOWN_LOSS", "config.loss"),
    "an unknown preconditioner": ({"precondition": 99}, "UNKNOWN_PRECONDITION", "config.precondition"),
    "a batch of one": ({"batch_size": 1}, "FIELD_INVALID", "config.batch_size"),
    "no width": ({"width": 0}, "FIELD_INVALID", "config.width"),
    "a negative rate": ({"learning_rate": -1.0}, "FIELD_INVALID", "config.learning_rate"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_bad_configs_are_refused(stubs: Stubs, normal: target_service_pb2.Target, case: str) -> None:
    values, reason, path = CONFIGS[case]
    config = training_service_pb2.TrainingConfig(**values)
    refusal = refused(lambda: create_job(stubs, normal.name, config))
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, reason, (path,))


def test_unknown_words_are_answered_with_the_known_ones(stubs: Stubs, normal: target_service_pb2.Target) -> None:
    values, _, _ = CONFIGS["an unknown method"]
    config = training_service_pb2.TrainingConfig(**values)
    assert "dbs, cmcd" in refused(lambda: create_job(stubs, normal.name, config)).message
