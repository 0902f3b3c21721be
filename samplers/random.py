"""Noise as a pure function of (stream name, seed, counter): the same numbers on any machine, in any order.

Each call keys a Philox generator with 128 bits of SHA-256(name, seed, counter). torch's CPU generator is no use here:
it keeps 32 bits of its seed.
"""

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["keyed_generator", "normal_noise", "rough_normal_columns", "rough_normal_noise", "torch_generator"]

# A float32 holds all odd multiples of this between -1 and 1.
_GRAIN = 2.0**-24
# Numbers of a rough array in one block of Philox: 256 bits, of which each takes 32.
_BLOCK = 8


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


def rough_normal_noise(shape: tuple[int, ...], stream: str, seed: int, counter: int) -> Tensor:
    """Standard normal float32 noise on a grid of 2**24 quantiles, in a third of the time: for training alone.

    No number is beyond 5.5, and there are only ten or so beyond 5 on either side: a gradient does not see that, while
    an estimate might.
    """
    count = math.prod(shape)
    raw = keyed_generator(stream, seed, counter).bit_generator.random_raw(-(-count // 2))
    return _quantiles(raw.astype("<u8", copy=False).view("<i4")[:count]).view(shape)


def rough_normal_columns(shape: tuple[int, int, int], columns: slice, stream: str, seed: int, counter: int) -> Tensor:
    """`rough_normal_noise(shape, ...)[:, columns]`, bit for bit, without the rest: Philox can jump."""
    rows, batch, dim = shape
    width = columns.stop - columns.start
    words, bits, at = np.empty((rows, width * dim), "<i4"), keyed_generator(stream, seed, counter).bit_generator, 0
    for row in range(rows):
        block, skipped = divmod((row * batch + columns.start) * dim, _BLOCK)
        if block < at:
            # The last row ended within the block where this one begins.
            bits, at = keyed_generator(stream, seed, counter).bit_generator, 0
        raw = bits.advance(block - at).random_raw(-(-(skipped + width * dim) // 2))  # type: ignore[attr-defined]
        at = block - (-len(raw) * 2 // _BLOCK)
        words[row] = raw.astype("<u8", copy=False).view("<i4")[skipped : skipped + width * dim]
    return _quantiles(words).view(rows, width, dim)


def _quantiles(words: np.ndarray) -> Tensor:
    """Normal numbers from random 32-bit integers, which it may overwrite."""
    odd = torch.from_numpy(words).bitwise_right_shift_(7).bitwise_or_(1)
    return odd.float().mul_(_GRAIN).erfinv_().mul_(math.sqrt(2.0))


def torch_generator(stream: str, seed: int, counter: int = 0) -> torch.Generator:
    """A torch generator for initial weights; its 32 effective bits are too few for draws."""
    bits = keyed_generator(stream, seed, counter).integers(2**32)
    return torch.Generator().manual_seed(int(bits))
