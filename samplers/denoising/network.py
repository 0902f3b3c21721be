"""Networks of noised points and levels, and the models made of them.

A network sees y, of variance about one at every level, and lambda; its answer counts in units of the prediction's own
root mean square (`Prediction.scale`), whatever the schedule. It starts as zero, so a model with a Gaussian skip starts
as that Gaussian's denoiser: on Gaussian data nothing is left to learn.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .denoiser import DenoisingModel, predicted
from .exact import GaussianDenoiser
from .prediction import Prediction, Score
from .schedule import Level, Schedule, preserving

__all__ = [
    "EnergyModel",
    "LevelEmbedding",
    "Network",
    "NetworkModel",
    "ResidualMlp",
    "fused_norm",
    "linear",
    "smooth_norm",
]

# Angular frequencies in lambda, a geometric series: from a tenth of a turn over the usual range to a turn a unit.
_FREQUENCIES = 16
_SLOWEST, _FASTEST = 0.03, 6.0
# Every row has a level of its own, so its features cost as much as a layer: few suffice.
_LEVEL_FEATURES = 64
# That of `layer_norm`.
_NORM_EPS = 1e-5


class Network(nn.Module, ABC):
    """A function of noised points and levels.

    Attributes:
        dim: Dimension of the points.
    """

    dim: int

    @abstractmethod
    def forward(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """`batch x outputs` at points y, `batch x dim`, and levels log_snr, `(batch,)`, both of its element type."""


class LevelEmbedding(nn.Module):
    """Features of a level, `batch x width`.

    Args:
        width: Their number.
        generator: Source of the initial weights.
    """

    frequencies: Tensor

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        steps = torch.linspace(math.log(_SLOWEST), math.log(_FASTEST), _FREQUENCIES).exp()
        self.register_buffer("frequencies", steps, persistent=False)
        self.inlet = linear(2 * _FREQUENCIES, width, generator)
        self.outlet = linear(width, width, generator)

    def forward(self, log_snr: Tensor) -> Tensor:
        """Features of levels, `(batch,)`."""
        phase = log_snr[:, None] * self.frequencies
        hidden: Tensor = self.outlet(functional.silu(self.inlet(torch.cat([phase.sin(), phase.cos()], -1))))
        return functional.silu(hidden)


def fused_norm(hidden: Tensor) -> Tensor:
    """Layer normalisation of `batch x width`, by PyTorch's kernel: fast, but its third derivatives are wrong."""
    return functional.layer_norm(hidden, hidden.shape[-1:])


def smooth_norm(hidden: Tensor) -> Tensor:
    """The same of plain operations: for a network whose gradient is a model, and that model's density differentiated.

    With torch 2.13 the third derivative of `layer_norm` is that of other numbers altogether.
    """
    centred = hidden - hidden.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + _NORM_EPS)


class ResidualMlp(Network):
    """A residual network with features scaled and shifted by the level in every block (Perez et al. 2018).

    Args:
        dim: Dimension of the points.
        outputs: Dimension of the answer, zero at the start.
        width: Hidden width.
        blocks: Number of residual blocks.
        generator: Source of the initial weights.
        norm: Layer normalisation.
    """

    def __init__(
        self,
        dim: int,
        outputs: int,
        width: int,
        blocks: int,
        generator: torch.Generator,
        norm: Callable[[Tensor], Tensor] = fused_norm,
    ) -> None:
        super().__init__()
        self.dim, self._norm = dim, norm
        features = min(width, _LEVEL_FEATURES)
        self.embedding = LevelEmbedding(features, generator)
        self.inlet = linear(dim, width, generator)
        # Blocks see normalised features: without a bias they would not see how far from the origin a point is.
        nn.init.uniform_(self.inlet.bias, -1.0, 1.0, generator=generator)
        self.blocks = nn.ModuleList(_Block(width, features, generator, norm) for _ in range(blocks))
        self.outlet = linear(width, outputs, generator, zero=True)

    def forward(self, y: Tensor, log_snr: Tensor) -> Tensor:
        level, hidden = self.embedding(log_snr), self.inlet(y)
        for block in self.blocks:
            hidden = block(hidden, level)
        answer: Tensor = self.outlet(self._norm(hidden))
        return answer


class _Block(nn.Module):
    def __init__(self, width: int, features: int, generator: torch.Generator, norm: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._norm = norm
        self.film = linear(features, 2 * width, generator, zero=True)
        self.inlet = linear(width, width, generator)
        self.outlet = linear(width, width, generator)

    def forward(self, hidden: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.film(level).chunk(2, -1)
        seen = self._norm(hidden) * (1.0 + scale) + shift
        change: Tensor = self.outlet(functional.silu(self.inlet(functional.silu(seen))))
        return hidden + change


class NetworkModel(DenoisingModel):
    """A network as a model of some prediction.

    Args:
        network: Of as many outputs as dimensions.
        prediction: What it predicts.
        schedule: In the scale of which.
        skip: A denoiser whose answer the network's is added to.
    """

    def __init__(
        self, network: Network, prediction: Prediction, schedule: Schedule, skip: GaussianDenoiser | None = None
    ) -> None:
        super().__init__()
        self.dim, self.prediction, self.schedule = network.dim, prediction, schedule
        self.network, self._skip = network, skip

    def output(self, y: Tensor, log_snr: Tensor) -> Tensor:
        level = Level(*(part.to(y) for part in self.schedule.at(log_snr)))
        own: Tensor = self.prediction.scale(level) * self.network(y, log_snr.to(y))
        return own if self._skip is None else own + predicted(self.prediction, level, self._skip.data(y, log_snr), y)


class EnergyModel(DenoisingModel):
    """A scalar network whose gradient is the score: -score_y = y + grad g(y) / sigma, conservative by construction.

    Args:
        network: Of one output.
        schedule: The scale of the score.
    """

    def __init__(self, network: Network, schedule: Schedule) -> None:
        super().__init__()
        self.dim, self.prediction, self.schedule = network.dim, Score(), schedule
        self.network = network

    def energy(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """Minus the log density of y up to a constant of each level, `(batch,)`."""
        sigma = preserving(log_snr).sigma.to(y)[:, 0]
        own: Tensor = self.network(y, log_snr.to(y))[:, 0] / sigma
        return 0.5 * y.square().sum(1) + own

    def output(self, y: Tensor, log_snr: Tensor) -> Tensor:
        live = torch.is_grad_enabled()
        with torch.enable_grad():
            leaf = y if live and y.requires_grad else y.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.energy(leaf, log_snr).sum(), leaf, create_graph=live)
        return -gradient / self.schedule.at(log_snr).rho.to(y)


def linear(inputs: int, outputs: int, generator: torch.Generator, *, zero: bool = False) -> nn.Linear:
    """A layer with weights uniform within 1 / sqrt(inputs) and no bias at the start; or all zero."""
    layer = nn.Linear(inputs, outputs)
    bound = 0.0 if zero else 1.0 / math.sqrt(inputs)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
