"""The loader of JAX programs: what it lets in, what it refuses before running anything, and how it batches."""

import dataclasses
import io
import pickle
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsp
import numpy as np
import pytest
import torch
from jax import export

from gephyra.clients.capture import from_jax
from gephyra.clients.testing.loading import as_program
from gephyra.targets.loading import load_program, replay
from gephyra.targets.program import CheckPoints, Module, Program, StableHloBody
from gephyra.targets.stablehlo import cover
from gephyra.targets.untrusted import ProgramError

_DATA = np.linspace(-1.0, 2.0, 5, dtype=np.float32)


def _quadratic(x: Any) -> Any:
    return -0.5 * jnp.sum((x[:, None] - _DATA) ** 2)


@cache
def _program() -> Program:
    return as_program(from_jax(_quadratic, 3).program)


def _with_module(serialized: bytes) -> Program:
    program = _program()
    assert isinstance(program.body, StableHloBody)
    first, *others = program.body.density
    return dataclasses.replace(program, body=StableHloBody((Module(first.batch, serialized), *others)))


def _refusal(program: Program) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        load_program(program)
    return caught.value


def _serialized() -> bytes:
    body = _program().body
    assert isinstance(body, StableHloBody)
    return body.density[0].serialized


def _zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("serialized", "reason"),
    [
        (lambda: pickle.dumps({"a": 1}), "PROGRAM_FORMAT_REFUSED"),
        (lambda: pickle.dumps([1], protocol=2), "PROGRAM_FORMAT_REFUSED"),
        (_zipped, "PROGRAM_FORMAT_REFUSED"),
        (lambda: b"\x7fELF" + bytes(60), "PROGRAM_FORMAT_REFUSED"),
        (lambda: b"", "PROGRAM_MALFORMED"),
        (lambda: b"hello", "PROGRAM_MALFORMED"),
        (lambda: _serialized()[:-64], "PROGRAM_MALFORMED"),
        (lambda: _serialized()[: len(_serialized()) // 2], "PROGRAM_MALFORMED"),
        (lambda: _serialized()[:40], "PROGRAM_MALFORMED"),
    ],
)
def test_other_bytes_are_refused(serialized: Callable[[], bytes], reason: str) -> None:
    error = _refusal(_with_module(serialized()))
    assert (error.reason, error.field) == (reason, "stablehlo.density[0]")


def _forged(function: Callable[[Any, Any], Any], **checks: Any) -> bytes:
    shapes = jax.ShapeDtypeStruct((16, 3), np.float32), jax.ShapeDtypeStruct((5,), np.float32)
    return bytes(export.export(jax.jit(function), platforms=["cpu", "cuda"], **checks)(*shapes).serialize())


def test_a_foreign_custom_call_is_refused() -> None:
    def function(points: Any, data: Any) -> Any:
        shape = jax.ShapeDtypeStruct((16,), np.float32)
        return jax.ffi.ffi_call("xla_ffi_python_cpu_callback", shape)(points), points

    unchecked = [export.DisabledSafetyCheck.custom_call("xla_ffi_python_cpu_callback")]
    error = _refusal(_with_module(_forged(function, disabled_checks=unchecked)))
    assert error.reason == "PROGRAM_CALL_NOT_ALLOWED"
    assert "xla_ffi_python_cpu_callback" in error.message


def test_a_custom_call_inside_a_branch_is_found() -> None:
    def function(points: Any, data: Any) -> Any:
        shape = jax.ShapeDtypeStruct((16,), np.float32)

        def hidden(at: Any) -> Any:
            return jax.ffi.ffi_call("evil", shape)(at)

        return jax.lax.cond(data[0] > 9, hidden, lambda at: at[:, 0], points), points

    unchecked = [export.DisabledSafetyCheck.custom_call("evil")]
    assert _refusal(_with_module(_forged(function, disabled_checks=unchecked))).reason == "PROGRAM_CALL_NOT_ALLOWED"


def test_an_operation_outside_the_list_is_refused() -> None:
    def function(points: Any, data: Any) -> Any:
        noise = jax.lax.rng_uniform(0.0, 1.0, (16,))
        return noise, points

    error = _refusal(_with_module(_forged(function)))
    assert error.reason == "PROGRAM_OP_NOT_ALLOWED"
    assert "stablehlo.rng" in error.message


def test_a_module_of_another_shape_is_refused() -> None:
    def transposed(points: Any, data: Any) -> Any:
        return points.sum(1), points.T

    assert _refusal(_with_module(_forged(transposed))).reason == "PROGRAM_MALFORMED"
    assert _refusal(dataclasses.replace(_program(), dim=4)).reason == "PROGRAM_MALFORMED"
    assert _refusal(dataclasses.replace(_program(), arrays=())).reason == "PROGRAM_MALFORMED"
    assert _refusal(dataclasses.replace(_program(), dim=0)).reason == "DIM_OUT_OF_RANGE"
    assert _refusal(dataclasses.replace(_program(), body=StableHloBody(()))).reason == "PROGRAM_MALFORMED"


_MATRIX = jnp.array([[2.0, 0.3, 0.1], [0.3, 1.5, 0.2], [0.1, 0.2, 1.0]])


@pytest.mark.parametrize(
    "factor",
    [
        lambda x: jnp.linalg.cholesky(_MATRIX * jnp.exp(x[0])).sum(),
        lambda x: jnp.linalg.slogdet(_MATRIX + jnp.diag(x))[1],
        lambda x: jnp.linalg.solve(_MATRIX, x).sum(),
        lambda x: jnp.linalg.eigh(_MATRIX + jnp.diag(x))[0].sum(),
        lambda x: jsp.solve_triangular(_MATRIX, x, lower=True).sum(),
        lambda x: jax.lax.linalg.tridiagonal_solve(
            jnp.array([0.0, 0.1, 0.2]), jnp.ones(3) * 2, jnp.array([0.3, 0.1, 0.0]), x[:, None]
        ).sum(),
    ],
    ids=["cholesky", "slogdet", "solve", "eigh", "triangular", "tridiagonal"],
)
def test_linear_algebra_passes_the_walk(factor: Callable[[Any], Any]) -> None:
    load_program(as_program(from_jax(lambda x: factor(x) - jnp.sum(x**2), 3).program))


def test_special_functions_pass_the_walk() -> None:
    from jax.scipy import special

    def density(x: Any) -> Any:
        positive = jnp.exp(x)
        values = [
            special.gammaln(positive), special.digamma(positive), special.betainc(2.0, 3.0, jax.nn.sigmoid(x)),
            special.gammainc(2.0, positive), special.ndtri(jax.nn.sigmoid(x)), special.log_ndtr(x), special.i0e(x),
            special.logsumexp(jnp.sort(x)), special.xlogy(positive, positive), jnp.cumsum(x), jnp.tan(x * 0.1),
            jax.nn.softplus(x), special.erfc(x), jnp.arccosh(1 + positive), jnp.fft.irfft(jnp.fft.rfft(x), n=3),
        ]  # fmt: skip
        return sum(jnp.sum(value) for value in values)

    load_program(as_program(from_jax(density, 3).program))


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, (16,)), (16, (16,)), (17, (16, 16)), (100, (256,)), (256, (256,)), (300, (256, 16, 16, 16)), (512, (256, 256)),
     (2000, (2048,)), (2049, (2048, 16)), (4096, (2048, 2048)), (0, ())],
)  # fmt: skip
def test_points_are_covered_at_the_least_cost(count: int, sizes: tuple[int, ...]) -> None:
    assert cover(count, (2048, 256, 16)) == sizes
    assert sum(sizes) >= count


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 255, 257])
def test_any_number_of_points_is_answered(count: int) -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32))
    log_density, score = load_program(_program()).log_density_and_score(x)
    data = torch.from_numpy(_DATA)
    torch.testing.assert_close(log_density, -0.5 * ((x[:, :, None] - data) ** 2).sum((1, 2)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(score, (data - x[:, :, None]).sum(2), rtol=1e-5, atol=1e-5)


def test_points_of_another_type_come_back_in_their_own() -> None:
    log_density, score = load_program(_program()).log_density_and_score(torch.zeros(3, 3, dtype=torch.float64))
    assert (log_density.dtype, score.dtype) == (torch.float64, torch.float64)


def test_the_log_density_is_differentiable_once() -> None:
    target = load_program(_program())
    x = torch.ones(2, 3, requires_grad=True)
    log_density, score = target.log_density_and_score(x)
    (gradient,) = torch.autograd.grad(log_density.sum(), x)
    torch.testing.assert_close(gradient, score)


def test_large_data_stay_out_of_the_modules() -> None:
    data = np.random.default_rng(0).normal(size=(500_000,)).astype(np.float32)
    wire = from_jax(lambda x: -0.5 * jnp.sum((x[0] - data) ** 2) - x[1] ** 2, 2).program
    assert [len(array.inline.data) for array in wire.arrays] == [2_000_000]
    assert all(len(module.serialized) < 20_000 for module in wire.stablehlo.density)


def test_data_of_a_jitted_helper_stay_out_of_the_modules() -> None:
    data = np.random.default_rng(0).normal(size=(100_000,)).astype(np.float32)
    helper = jax.jit(lambda x: jnp.sum(x[0] * data))
    wire = from_jax(lambda x: helper(x) - jnp.sum(x**2), 2).program
    assert all(len(module.serialized) < 20_000 for module in wire.stablehlo.density)
    program = as_program(wire)
    replay(load_program(program), program.check_points, program.dtype)


def test_the_same_density_gives_the_same_bytes() -> None:
    jax.clear_caches()
    again = from_jax(_quadratic, 3).program
    assert as_program(again).body == _program().body
    assert b"test_stablehlo" not in again.SerializeToString()


def test_a_float64_capture_is_computed_in_float64() -> None:
    # The worker's own JAX is in float32: the setting is restored before the program is loaded.
    with jax.enable_x64(True):
        program = as_program(from_jax(lambda x: -jnp.sum((x - 1 / 3) ** 2), 2).program)
    assert program.dtype == "float64"
    target = load_program(program)
    replay(target, program.check_points, program.dtype)
    x = torch.full((3, 2), 1e-9, dtype=torch.float64)
    torch.testing.assert_close(target.log_density(x), -((x - 1 / 3) ** 2).sum(1), rtol=1e-15, atol=1e-15)
    assert jnp.zeros(()).dtype == jnp.float32


def test_wrong_check_values_are_noticed() -> None:
    program = _program()
    check = program.check_points
    target = load_program(program)
    replay(target, check, program.dtype)
    wrong = {
        "CAPTURE_MISMATCH": [
            CheckPoints(check.x, check.log_density * 1.001, check.score),
            CheckPoints(check.x, check.log_density, check.score * 1.01),
            CheckPoints(check.x, np.full_like(check.log_density, -np.inf), check.score),
        ],
        "PROGRAM_MALFORMED": [
            CheckPoints(check.x[:3], check.log_density[:3], check.score[:3]),
            CheckPoints(check.x, check.log_density[:-1], check.score),
            CheckPoints(check.x * np.nan, check.log_density, check.score),
        ],
    }
    for reason, points in wrong.items():
        for each in points:
            with pytest.raises(ProgramError) as caught:
                replay(target, each, program.dtype)
            assert (caught.value.reason, caught.value.field) == (reason, "check_points")
