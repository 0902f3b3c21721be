"""Noise as a pure function of (stream name, seed, counter): the same numbers on any machine, in any order.

Each call keys a Philox generator with 128 bits of SHA-256(name, seed, counter). torch's CPU generator is no use here:
it keeps 32 bits of its seed.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

__all__ = ["keyed_generator", "normal_noise", "torch_generator"]


def keyed_generator(stream: str, seed: int, counter: int = 0) -> np.random.Generator:
    """The generator of (stream, seed, counter).

    Args:
        stream: Name of the use, for example "train"; different names are independent.
        seed: The user's seed, in [0, 2**64).
        counter: Step or block, in [0, 2**64).
    """
    digest = hashlib.sha256(f"gephyra/{stream}/{seed}/{counter}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def normal_noise(shape: tuple[int, ...], stream: str, seed: int, counter: int) -> Tensor:
    """Standard normal float32 noise of the given shape."""
    return torch.from_numpy(keyed_generator(stream, seed, counter).standard_normal(shape, dtype=np.float32))


def torch_generator(stream: str, seed: int, counter: int = 0) -> torch.Generator:
    """A torch generator for initial weights; its 32 effective bits are too few for draws."""
    bits = keyed_generator(stream, seed, counter).integers(2**32)
    return torch.Generator().manual_seed(int(bits))
