"""Dense arrays on the wire: little-endian bytes in C order. Total: bad input is a ValueError that names the field."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gephyra.protos import tensor_pb2

__all__ = ["DTYPES", "array_bytes", "dtype_name", "dtype_number", "from_tensor", "to_tensor"]

_NAMES = {
    tensor_pb2.DTYPE_FLOAT32: "float32", tensor_pb2.DTYPE_FLOAT64: "float64", tensor_pb2.DTYPE_INT32: "int32",
    tensor_pb2.DTYPE_INT64: "int64", tensor_pb2.DTYPE_UINT8: "uint8", tensor_pb2.DTYPE_BOOL: "bool",
    tensor_pb2.DTYPE_UINT32: "uint32", tensor_pb2.DTYPE_INT8: "int8", tensor_pb2.DTYPE_INT16: "int16",
    tensor_pb2.DTYPE_UINT16: "uint16", tensor_pb2.DTYPE_UINT64: "uint64",
}  # fmt: skip
_NUMBERS = {name: number for number, name in _NAMES.items()}

DTYPES = frozenset(_NUMBERS)
_MAX_RANK = 16
_MAX_ELEMENTS = 2**40


def dtype_name(number: int, field: str) -> str:
    """Numpy name of a wire dtype. Raises ValueError naming the field."""
    if number not in _NAMES:
        raise ValueError(f"{field}: expected a dtype among {', '.join(sorted(DTYPES))}, got number {number}")
    return _NAMES[tensor_pb2.DType.ValueType(number)]


def dtype_number(name: str) -> tensor_pb2.DType.ValueType:
    """Wire dtype of a numpy name. Raises ValueError for a type that does not travel."""
    if name not in _NUMBERS:
        raise ValueError(f"expected a dtype among {', '.join(sorted(DTYPES))}, got {name}")
    return _NUMBERS[name]


def array_bytes(dtype: int, shape: Sequence[int], field: str) -> int:
    """Bytes of an array of this dtype and shape. Raises ValueError naming the field for impossible ones."""
    itemsize = np.dtype(dtype_name(dtype, f"{field}.dtype")).itemsize
    if len(shape) > _MAX_RANK or any(size < 0 for size in shape) or math.prod(shape) > _MAX_ELEMENTS:
        raise ValueError(f"{field}.shape: expected at most {_MAX_RANK} sizes from 0 on, got {list(shape)[:20]}")
    return math.prod(shape) * itemsize


def from_tensor(tensor: tensor_pb2.Tensor, field: str) -> NDArray[Any]:
    """The array, read-only, backed by the message's bytes. Raises ValueError naming the field."""
    expected = array_bytes(tensor.dtype, tensor.shape, field)
    if len(tensor.data) != expected:
        raise ValueError(f"{field}.data: shape {list(tensor.shape)} needs {expected} bytes, got {len(tensor.data)}")
    dtype = np.dtype(dtype_name(tensor.dtype, field)).newbyteorder("<")
    return np.frombuffer(tensor.data, dtype).reshape(tuple(tensor.shape))


def to_tensor(array: NDArray[Any]) -> tensor_pb2.Tensor:
    """The message of an array of any layout. Raises ValueError for a dtype that does not travel."""
    number = dtype_number(array.dtype.name)
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(order="C")
    return tensor_pb2.Tensor(dtype=number, shape=array.shape, data=data)
