"""Where the noise of one optimiser step comes from: named arrays, each a pure function of (name, seed, step)."""

from typing import NamedTuple

import torch
from torch import Tensor

from .group import ALONE, Group, Share
from .random import normal_noise, rough_normal_columns, rough_normal_noise, torch_generator

__all__ = ["NoiseSource"]


class NoiseSource(NamedTuple):
    """Noise of one step.

    `NoiseSource(seed, 3).normal((65, 256, 2))` is the same array whenever and wherever it is asked for.
    """

    seed: int
    step: int
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    group: Group = ALONE
    """The workers that simulate the paths of this step."""

    def normal(self, shape: tuple[int, ...], stream: str = "train") -> Tensor:
        """Standard normal noise of the given shape, for gradients."""
        return rough_normal_noise(shape, stream, self.seed, self.step).to(self.device, self.dtype)

    def share(self, paths: int) -> Share:
        """Which of a batch of so many paths are this worker's."""
        return Share(self.group, paths)

    def own(self, shape: tuple[int, int, int], stream: str = "train") -> Tensor:
        """This worker's part, along the middle axis, of `normal` noise of the given shape."""
        share = self.share(shape[1])
        if share.whole:
            return self.normal(shape, stream)
        return rough_normal_columns(shape, share.rows, stream, self.seed, self.step).to(self.device, self.dtype)

    def precise(self, shape: tuple[int, ...], stream: str) -> Tensor:
        """Standard normal noise of the given shape, for estimates."""
        return normal_noise(shape, stream, self.seed, self.step).to(self.device, self.dtype)

    def generator(self, stream: str) -> torch.Generator:
        """A generator, on the CPU, for choices and for targets that draw exactly."""
        return torch_generator(stream, self.seed, self.step)
