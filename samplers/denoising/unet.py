"""A small convolutional network for images: down, across, up, with skips (Ronneberger et al. 2015; Ho et al. 2020).

Images are rows of numbers, channel by channel and line by line. Sizes need not be powers of two.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import LevelEmbedding, Network, linear

__all__ = ["LARGEST_SIDE", "ImageShape", "UNet"]

LARGEST_SIDE = 32
"""Pixels a side, at most."""

_GROUPS = 8


class ImageShape(NamedTuple):
    """Of an image."""

    channels: int
    height: int
    width: int


class UNet(Network):
    """Two residual blocks a resolution on the way down, two on the way up.

    Args:
        shape: Of the images; their rows have channels x height x width numbers.
        outputs: Answers a channel and pixel, zero at the start; the answer of a row is `dim x outputs`, flattened.
        widths: Channels at each resolution, from the finest; each but the first halves the sides.
        generator: Source of the initial weights.

    Raises:
        ValueError: If a side is above `LARGEST_SIDE`, or too short to be halved that often.
    """

    def __init__(self, shape: ImageShape, outputs: int, widths: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        sides = (shape.height, shape.width)
        if max(sides) > LARGEST_SIDE or min(sides) < 2 ** (len(widths) - 1):
            raise ValueError(
                f"{len(widths)} resolutions need sides between {2 ** (len(widths) - 1)} and {LARGEST_SIDE}, got {sides}"
            )
        self.dim, self._shape, self._outputs = math.prod(shape), shape, outputs
        embedding = 4 * widths[0]
        self.embedding = LevelEmbedding(embedding, generator)
        self.inlet = _convolution(shape.channels, widths[0], generator)
        before = (widths[0], *widths[:-1])
        self.down = nn.ModuleList(_Stage(b, w, embedding, generator) for b, w in zip(before, widths, strict=True))
        # Each resolution gets what came from below and what was there on the way down.
        below = (*widths[1:], widths[-1])
        self.up = nn.ModuleList(_Stage(b + w, w, embedding, generator) for b, w in zip(below, widths, strict=True))
        self.outlet = _convolution(widths[0], shape.channels * outputs, generator, zero=True)

    def forward(self, y: Tensor, log_snr: Tensor) -> Tensor:
        level = self.embedding(log_snr)
        hidden = self.inlet(y.view(-1, *self._shape))
        kept: list[Tensor] = []
        for stage in self.down:
            hidden = stage(hidden if not kept else functional.avg_pool2d(hidden, 2, ceil_mode=True), level)
            kept.append(hidden)
        for stage, beside in zip(reversed(self.up), reversed(kept), strict=True):
            raised = functional.interpolate(hidden, size=beside.shape[-2:], mode="nearest")
            hidden = stage(torch.cat([raised, beside], 1), level)
        answer: Tensor = self.outlet(functional.silu(_norm(hidden)))
        channels, outputs, height, width = self._shape.channels, self._outputs, *answer.shape[-2:]
        return answer.view(-1, channels, outputs, height, width).movedim(2, -1).flatten(1)


class _Stage(nn.Module):
    """Two residual blocks at one resolution."""

    def __init__(self, inputs: int, outputs: int, embedding: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = _Residual(inputs, outputs, embedding, generator)
        self.second = _Residual(outputs, outputs, embedding, generator)

    def forward(self, hidden: Tensor, level: Tensor) -> Tensor:
        result: Tensor = self.second(self.first(hidden, level), level)
        return result


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, embedding: int, generator: torch.Generator) -> None:
        super().__init__()
        self.film = linear(embedding, 2 * outputs, generator, zero=True)
        self.first = _convolution(inputs, outputs, generator)
        self.second = _convolution(outputs, outputs, generator)
        self.direct = _convolution(inputs, outputs, generator, size=1)

    def forward(self, hidden: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.film(level)[:, :, None, None].chunk(2, 1)
        seen = _norm(self.first(functional.silu(_norm(hidden)))) * (1.0 + scale) + shift
        result: Tensor = self.direct(hidden) + self.second(functional.silu(seen))
        return result


def _norm(hidden: Tensor) -> Tensor:
    return functional.group_norm(hidden, math.gcd(_GROUPS, hidden.shape[1]))


def _convolution(
    inputs: int, outputs: int, generator: torch.Generator, *, size: int = 3, zero: bool = False
) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    bound = 0.0 if zero else 1.0 / math.sqrt(inputs * size * size)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
