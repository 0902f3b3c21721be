"""Devices and precisions: from the words of the settings to torch's objects."""

import torch

from .settings import Device, Precision

__all__ = ["device_of", "dtype_of"]


def device_of(word: Device) -> torch.device:
    """The device. Raises ValueError for a GPU that is not there."""
    available = torch.cuda.is_available()
    if word is Device.CUDA and not available:
        raise ValueError("device is cuda, but this worker sees no GPU; use auto or cpu")
    return torch.device("cuda" if available and word is not Device.CPU else "cpu")


def dtype_of(word: Precision) -> torch.dtype:
    """Of states and networks."""
    return {Precision.FLOAT32: torch.float32, Precision.FLOAT64: torch.float64}[word]
