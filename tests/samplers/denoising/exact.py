"""The four modes of denoising.md: N(mean, I/26), means (+-5, +-5)/sqrt(26), in float64, with everything known."""

import math

import torch
from torch import Tensor

from gephyra.samplers.components import Components
from gephyra.samplers.denoising.exact import GaussianDenoiser, MixtureDenoiser
from gephyra.samplers.random import keyed_generator
from gephyra.targets.gaussian import GaussianMixture

VARIANCE = 1 / 26
MEANS = torch.tensor([[-5.0, -5.0], [-5.0, 5.0], [5.0, -5.0], [5.0, 5.0]], dtype=torch.float64) / math.sqrt(26)
SCALES = torch.full((4, 2), math.sqrt(VARIANCE), dtype=torch.float64)
COMPONENTS = Components(torch.full((4,), -math.log(4), dtype=torch.float64), MEANS, SCALES)
DENOISER = MixtureDenoiser(COMPONENTS)
TARGET = GaussianMixture(MEANS, SCALES)
# The mixture's own mean and variance: 25/26 between the modes, 1/26 within.
STANDARD = GaussianDenoiser(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
ENTROPY = 0.9635
"""In nats, denoising.md section 3."""


def normal(stream: str, *shape: int) -> Tensor:
    """Standard normal float64 noise."""
    return torch.from_numpy(keyed_generator(stream, 0).standard_normal(shape))


def uniform(stream: str, *shape: int) -> Tensor:
    """Uniform float64 noise."""
    return torch.from_numpy(keyed_generator(stream, 0).random(shape))


def drawn(stream: str, count: int) -> tuple[Tensor, Tensor]:
    """Exact draws, `count x 2`, and their distances from their modes in standard deviations."""
    mode = torch.from_numpy(keyed_generator(f"{stream}/mode", 0).integers(0, 4, count))
    within = normal(f"{stream}/within", count, 2)
    return MEANS[mode] + math.sqrt(VARIANCE) * within, within


def draws(stream: str, count: int) -> Tensor:
    """Exact draws, `count x 2`."""
    return drawn(stream, count)[0]
