"""Wire tensors and numpy arrays, both ways. Bytes are little-endian in C order, booleans one byte each."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gephyra.protos import tensor_pb2

__all__ = ["dtype_of", "from_tensor", "to_tensor", "wire_type"]

_NAMES: Mapping[tensor_pb2.DType.ValueType, str] = {
    tensor_pb2.DTYPE_FLOAT32: "float32",
    tensor_pb2.DTYPE_FLOAT64: "float64",
    tensor_pb2.DTYPE_INT8: "int8",
    tensor_pb2.DTYPE_INT16: "int16",
    tensor_pb2.DTYPE_INT32: "int32",
    tensor_pb2.DTYPE_INT64: "int64",
    tensor_pb2.DTYPE_UINT8: "uint8",
    tensor_pb2.DTYPE_UINT16: "uint16",
    tensor_pb2.DTYPE_UINT32: "uint32",
    tensor_pb2.DTYPE_UINT64: "uint64",
    tensor_pb2.DTYPE_BOOL: "bool",
}
_NUMBERS = {name: number for number, name in _NAMES.items()}


def dtype_of(number: tensor_pb2.DType.ValueType, field: str = "dtype") -> np.dtype[Any]:
    """The numpy type of a wire type, little-endian. Raises ValueError naming `field` for a number without one."""
    if number not in _NAMES:
        raise ValueError(f"{field}: unknown element type {number}; it must be one of {', '.join(_NUMBERS)}")
    return np.dtype(_NAMES[number]).newbyteorder("<")


def wire_type(dtype: np.dtype[Any], field: str = "array") -> tensor_pb2.DType.ValueType:
    """The wire type of a numpy type of any byte order. Raises ValueError naming `field` for one the wire has not."""
    if dtype.name not in _NUMBERS:
        raise ValueError(f"{field}: arrays of {dtype} cannot be sent; convert it to one of {', '.join(_NUMBERS)}")
    return _NUMBERS[dtype.name]


def to_tensor(array: NDArray[Any], field: str = "array") -> tensor_pb2.Tensor:
    """The wire form of an array of any shape. Raises ValueError naming `field` for a type the wire has not."""
    number = wire_type(array.dtype, field)
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return tensor_pb2.Tensor(dtype=number, shape=array.shape, data=data.tobytes())


def from_tensor(tensor: tensor_pb2.Tensor, field: str = "tensor") -> NDArray[Any]:
    """The array of a wire tensor: read-only, a view of the message's bytes.

    Raises ValueError naming `field` for an unknown type, a negative extent, or bytes that do not fill the shape.
    """
    dtype, shape = dtype_of(tensor.dtype, f"{field}.dtype"), tuple(tensor.shape)
    if any(extent < 0 for extent in shape):
        raise ValueError(f"{field}.shape: extents must not be negative, got {shape}")
    expected = math.prod(shape) * dtype.itemsize
    if len(tensor.data) != expected:
        raise ValueError(f"{field}.data: shape {shape} of {dtype.name} takes {expected} bytes, got {len(tensor.data)}")
    # Booleans by way of bytes: a byte of 2 is true, and no array of booleans may hold it.
    flat = np.frombuffer(tensor.data, np.uint8 if dtype == np.bool_ else dtype)
    try:
        array = flat.reshape(shape)
    except ValueError as error:  # A shape that fits the bytes, because an extent is 0, and is still too large.
        raise ValueError(f"{field}.shape: {shape} is no shape of an array: {error}") from None
    return array.astype(np.bool_) if dtype == np.bool_ else array
