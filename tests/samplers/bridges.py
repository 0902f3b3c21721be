"""Bridges and targets that the sampler tests share."""

import math

import torch
from torch import Tensor, nn

from gephyra.samplers.algorithms import BUILDERS
from gephyra.samplers.algorithms.parts import Ingredients
from gephyra.samplers.bridge import Bridge, Chain, Evaluate, Increments
from gephyra.samplers.components import Components
from gephyra.samplers.kernel import GaussianKernel
from gephyra.samplers.noise import NoiseSource
from gephyra.samplers.objective import Objective
from gephyra.samplers.objectives import OBJECTIVES
from gephyra.samplers.objectives.inputs import ObjectiveInputs
from gephyra.samplers.path import Node, Path
from gephyra.samplers.random import torch_generator
from gephyra.samplers.samples import drawing
from gephyra.samplers.settings import Learn, Loss, Method, TrainingSettings
from gephyra.targets.base import AutogradTarget, Target

# Of the size of random weights: a denoiser is deeper than a control, and its every answer is a move.
_DENOISER = 0.25


class GivenNoise(NoiseSource):
    """The same given array, whatever is asked for: quadrature nodes in place of random numbers."""

    values: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "GivenNoise":
        """Noise that is `values`."""
        noise = cls(0, 0, dtype=values.dtype)
        noise.values = values
        return noise

    def normal(self, shape: tuple[int, ...], stream: str = "train") -> Tensor:
        assert shape == tuple(self.values.shape)
        return self.values


class OneStepBridge(Bridge):
    """x_0 ~ N(0, 1), F: x_1 = x_0 + a + s eps, B: x_0 ~ N(x_1 + b, s^2): samplers.md, section 2.8, in float64."""

    dim = state_dim = steps = start_rows = step_rows = 1
    horizon = None

    def __init__(self, a: float, b: float, s: float) -> None:
        super().__init__()
        self.a, self.b, self.s = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (a, b, s))

    def start(self, noise: Tensor) -> Tensor:
        return noise[0]

    def start_log_density(self, state: Tensor) -> Tensor:
        return GaussianKernel(torch.zeros_like(state), torch.ones_like(state)).log_density(state)

    def forward_chain(self) -> Chain:
        return self._chain(self.a)

    def backward_chain(self) -> Chain:
        return self._chain(self.b)

    def end(self, x: Tensor, noise: Tensor) -> Tensor:
        return x

    def increments(self, path: Path, first: int, last: int) -> Increments:
        x, scale = path.state, self.s[None]
        return Increments(
            forward=GaussianKernel(x[:-1] + self.a, scale).log_density(x[1:]),
            backward=GaussianKernel(x[1:] + self.b, scale).log_density(x[:-1]),
            shared=GaussianKernel(x[:-1] + self.a.detach(), scale).log_density(x[1:]),
        )

    def _chain(self, drift: Tensor) -> Chain:
        def transition(n: int, node: Node, noise: Tensor, evaluate: Evaluate) -> Node:
            return evaluate(node.state + drift + self.s * noise[0])

        return transition


class UnnormalisedNormal(AutogradTarget):
    """log gamma = -(x - m)^2 / (2 tau^2) in each of `dim` directions."""

    def __init__(self, m: float, tau: float, dim: int = 1) -> None:
        self.m, self.tau, self.dim = m, tau, dim
        self.log_z = dim * (math.log(tau) + 0.5 * math.log(2.0 * math.pi))

    def _log_density(self, x: Tensor) -> Tensor:
        return -0.5 * ((x - self.m) / self.tau).square().sum(-1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor | None:
        return self.m + self.tau * torch.randn(count, self.dim, generator=generator, dtype=torch.float64)


def random_bridge(
    method: Method,
    dim: int,
    *,
    steps: int = 8,
    scale: float = 1.0,
    sigma: float | None = 1.0,
    seed: int = 0,
    networks: float = 0.0,
    width: int = 8,
    components: Components | None = None,
) -> Bridge:
    """A bridge of `method`; `networks` is the standard deviation of what is added to every network weight."""
    settings = TrainingSettings(method=method, steps=steps, width=width, learn=Learn())
    generator = torch_generator("tests", seed)
    bridge = BUILDERS[method](Ingredients(dim, settings, generator, components))
    with torch.no_grad():
        for name, parameter in bridge.named_parameters():
            if "control" in name or name.startswith("model."):
                size = networks if "control" in name else _DENOISER * networks
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))
            elif name == "prior.log_scale":
                parameter.fill_(math.log(scale))
            elif name == "diffusion.log_sigma" and sigma is not None:
                parameter.fill_(math.log(sigma))
    return bridge


def objective_of(
    bridge: Bridge, loss: Loss, target: Target | None = None, batch: int = 32, *, reward_to_go: bool = False
) -> Objective:
    """A new objective for a bridge; exact draws are those of `target`."""
    settings = TrainingSettings(loss=loss, batch_size=batch, width=8, reward_to_go=reward_to_go)
    draw = None if target is None else drawing(target, None)
    return OBJECTIVES[loss](ObjectiveInputs(settings, bridge, torch_generator("tests/objective", 0), draw))
