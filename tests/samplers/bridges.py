"""Bridges and targets that the sampler tests share."""

import math

import torch
from torch import Tensor, nn

from gephyra.samplers.algorithms import BUILDERS
from gephyra.samplers.bridge import Bridge, Chain, Transitions
from gephyra.samplers.kernel import GaussianKernel
from gephyra.samplers.random import torch_generator
from gephyra.samplers.settings import Learn, Method, TrainingSettings
from gephyra.targets.base import AutogradTarget


class OneStepBridge(Bridge):
    """x_0 ~ N(0, 1), F: x_1 = x_0 + a + s eps, B: x_0 ~ N(x_1 + b, s^2): samplers.md, section 2.8, in float64."""

    dim, steps = 1, 1

    def __init__(self, a: float, b: float, s: float) -> None:
        super().__init__()
        self.a, self.b, self.s = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (a, b, s))

    def prior_kernel(self) -> GaussianKernel:
        return GaussianKernel(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))

    def forward_chain(self) -> Chain:
        return lambda n, x, score: GaussianKernel(x + self.a, self.s[None])

    def backward_chain(self) -> Chain:
        return lambda n, x, score: GaussianKernel(x + self.b, self.s[None])

    def transitions(self, first: int, x: Tensor, score: Tensor) -> Transitions:
        scale = self.s[None]
        return Transitions(
            forward=GaussianKernel(x[:-1] + self.a, scale),
            backward=GaussianKernel(x[1:] + self.b, scale),
            shared=GaussianKernel(x[:-1] + self.a.detach(), scale),
        )


class UnnormalisedNormal(AutogradTarget):
    """log gamma = -(x - m)^2 / (2 tau^2) in each of `dim` directions."""

    def __init__(self, m: float, tau: float, dim: int = 1) -> None:
        self.m, self.tau, self.dim = m, tau, dim
        self.log_z = dim * (math.log(tau) + 0.5 * math.log(2.0 * math.pi))

    def _log_density(self, x: Tensor) -> Tensor:
        return -0.5 * ((x - self.m) / self.tau).square().sum(-1)


def random_bridge(
    method: Method,
    dim: int,
    *,
    steps: int = 8,
    scale: float = 1.0,
    sigma: float = 1.0,
    seed: int = 0,
    networks: float = 0.0,
    width: int = 8,
) -> Bridge:
    """A bridge of `method`; `networks` is the standard deviation of what is added to every network weight."""
    settings = TrainingSettings(method=method, steps=steps, width=width, learn=Learn())
    generator = torch_generator("tests", seed)
    bridge = BUILDERS[method](dim, settings, generator)
    with torch.no_grad():
        for name, parameter in bridge.named_parameters():
            if "control" in name:
                parameter.add_(networks * torch.randn(parameter.shape, generator=generator))
            elif name == "prior.log_scale":
                parameter.fill_(math.log(scale))
            elif name == "diffusion.log_sigma":
                parameter.fill_(math.log(sigma))
    return bridge
