"""check_capture passes faithful captures, in both languages, and finds ones that differ from the original."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gephyra.clients.capture import Captured, from_jax, from_torch
from gephyra.clients.definition import catalogue
from gephyra.clients.tensors import from_tensor, to_tensor
from gephyra.clients.testing import as_target, check_batch, check_capture, check_score, check_unbiased_weights

SCALES = np.array([1.0, 0.8, 1.2], dtype=np.float32)
LOG_Z = float(np.log(SCALES).sum() + 1.5 * np.log(2 * np.pi))


def reference(x: NDArray[np.float64]) -> float:
    return float(-0.5 * ((x / SCALES) ** 2).sum())


@pytest.fixture(scope="module")
def by_torch() -> Captured:
    scales = torch.from_numpy(SCALES)
    return from_torch(lambda x: -0.5 * ((x / scales) ** 2).sum(), 3)


@pytest.fixture(scope="module")
def by_jax() -> Captured:
    return from_jax(lambda x: -0.5 * ((x / SCALES) ** 2).sum(), 3)


@pytest.fixture(params=["torch", "jax"])
def captured(request: pytest.FixtureRequest) -> Captured:
    captured: Captured = request.getfixturevalue(f"by_{request.param}")
    return captured


def test_faithful_captures_pass_every_check(captured: Captured) -> None:
    assert "16 check points" in check_capture(captured).detail
    assert "64 fresh points" in check_capture(captured, reference).detail
    check_score(captured)
    check_batch(captured)
    check_unbiased_weights(captured, log_z=LOG_Z)


def test_original_may_return_a_scalar_of_its_framework(by_jax: Captured, by_torch: Captured) -> None:
    check_capture(by_jax, lambda x: -0.5 * jnp.sum((x / SCALES) ** 2))
    check_capture(by_torch, lambda x: -0.5 * ((torch.from_numpy(x) / torch.from_numpy(SCALES)) ** 2).sum())


@pytest.mark.parametrize("mistake", ["constant", "only far out", "nan"])
def test_another_original_is_found(captured: Captured, mistake: str) -> None:
    originals = {
        "constant": lambda x: reference(x) + 0.01,
        "only far out": lambda x: reference(x) * (1.01 if np.abs(x).max() > 2 else 1.0),
        "nan": lambda x: float("nan") if x[0] > 1 else reference(x),
    }
    with pytest.raises(AssertionError, match=r"check_capture: largest relative difference .* the original gives"):
        check_capture(captured, originals[mistake])


def test_check_points_that_the_program_does_not_reproduce_are_found(captured: Captured) -> None:
    program = type(captured.program)()
    program.CopyFrom(captured.program)
    values = from_tensor(program.check_points.log_density) + np.float32(0.1)
    program.check_points.log_density.CopyFrom(to_tensor(values))
    with pytest.raises(AssertionError, match="check_capture: the captured program gives"):
        check_capture(Captured(program))


def test_data_that_changed_on_the_way_are_found(by_torch: Captured) -> None:
    program = type(by_torch.program)()
    program.CopyFrom(by_torch.program)
    (array,) = [array for array in program.arrays if len(array.inline.shape) == 1]
    array.inline.CopyFrom(to_tensor(from_tensor(array.inline)[::-1].copy()))
    with pytest.raises(AssertionError, match="check_capture: the captured program gives"):
        check_capture(Captured(program))


def test_catalogue_definitions_have_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="needs a captured program"):
        check_capture(catalogue("seeds"))


def test_loaded_program_carries_dimension_and_catalogue_parameters(by_torch: Captured) -> None:
    assert as_target(by_torch).dim == 3
    assert as_target(catalogue("funnel", dim=4, scale=2.0)).dim == 4
    regression = catalogue("logistic-regression", features=[[0.0], [1.0]], labels=[0, 1], intercept=False)
    assert as_target(regression).dim == 1
