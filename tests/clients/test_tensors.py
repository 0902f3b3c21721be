"""Wire tensors and arrays: both ways for every type, and an error naming the field for everything else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gephyra.clients.tensors import dtype_of, from_tensor, to_tensor
from gephyra.protos import tensor_pb2

NUMBERS = [number for number in tensor_pb2.DType.values() if number != tensor_pb2.DTYPE_UNSPECIFIED]
DTYPES = [dtype_of(tensor_pb2.DType.ValueType(number)) for number in NUMBERS]


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0))
    )
)
def test_an_array_comes_back_as_it_was(array: np.ndarray) -> None:
    back = from_tensor(to_tensor(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_bytes_are_little_endian_in_c_order_whatever_the_array() -> None:
    array = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    tensor = to_tensor(array)
    assert tensor.data == np.arange(6, dtype="<i4").tobytes()
    np.testing.assert_array_equal(from_tensor(tensor), array)


def test_every_wire_type_has_an_array_type() -> None:
    assert len({dtype.name for dtype in DTYPES}) == len(NUMBERS) == 11


@pytest.mark.parametrize("array", [np.zeros(2, np.complex64), np.zeros(2, np.float16), np.array(["a"]), np.array([{}])])
def test_an_array_that_the_wire_has_no_type_for_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^data\.x: arrays of .* cannot be sent; convert it to one of float32"):
        to_tensor(array, "data.x")


@given(
    st.builds(
        tensor_pb2.Tensor,
        dtype=st.sampled_from(tensor_pb2.DType.values()),
        shape=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 4), max_size=4),
        data=st.binary(max_size=64),
    )
)
def test_a_damaged_tensor_is_refused_by_name_or_fills_its_shape(tensor: tensor_pb2.Tensor) -> None:
    try:
        array = from_tensor(tensor, "x")
    except ValueError as error:
        complaint = str(error)
    else:
        complaint = "x"
        assert array.shape == tuple(tensor.shape)
        assert array.nbytes == len(tensor.data)
    assert complaint.startswith("x")
