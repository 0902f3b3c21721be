"""Sub-trajectory balance(lambda) with learned flows (Madan et al. 2023), on detached paths (samplers.md, 2.5).

For any forward kernels there are flows, the unnormalised marginals, with log F_i + sum log F_n = log F_j + sum log B_n
over every piece i, ..., j of every path. With the flows

    U_0 = log Z + log p_0(z_0),     U_N = log gamma(x_N),
    U_n = (1 - n / N) (log Z + log p_0(z_n)) + (n / N) log gamma(x_n) + g(z_n, score_n, n / N),

(forward-looking: the network g corrects an interpolated energy) and A_n = U_n - sum_{m < n} (log F_m - log B_m), a
piece is off by A_i - A_j, and the loss is half the mean over pieces, weighed by lambda^(j - i), of its square. That is
a quadratic form in A: with C the weights and D = (diag(C 1) - C) A, the coefficient of log B_m is the sum of D_n over
n > m, that of log F_m the negative. With one step it is trajectory balance.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from gephyra.targets.base import Target

from ..bridge import Bridge
from ..group import Share
from ..losses import PathCoefficients
from ..noise import NoiseSource
from ..objective import Gradient, Objective, descend
from ..path import Path
from ..simulate import simulate_noting
from ..weigh import PathWeights
from .inputs import ObjectiveInputs

__all__ = ["SubTrajectoryBalance", "piece_weights"]

_LAMBDA = 0.9
_FREQUENCIES = 4
_SCORE_CLIP = 10.0


def piece_weights(steps: int, decay: float) -> Tensor:
    """lambda^|j - i| off the diagonal, each pair once in sum one: symmetric, `(steps + 1) x (steps + 1)`, float64."""
    index = torch.arange(steps + 1, dtype=torch.float64)
    weights = decay ** (index[:, None] - index).abs()
    weights.fill_diagonal_(0.0)
    return weights / (0.5 * weights.sum())


class SubTrajectoryBalance(Objective):
    """SubTB(lambda) on fresh paths. Its flows take `steps x batch x width` floats a few times over.

    Args:
        given: The bridge whose flows are learned, width and source of weights of their network.
        decay: lambda, positive: near 0 neighbours are compared only, 1 weighs all pieces alike.
    """

    started: Tensor
    balance: Tensor
    times: Tensor

    def __init__(self, given: ObjectiveInputs, decay: float = _LAMBDA) -> None:
        super().__init__()
        bridge = given.bridge
        self.log_z = nn.Parameter(torch.tensor(0.0, dtype=torch.float64))
        self.network = _Flow(bridge.state_dim, bridge.dim, given.settings.width, given.generator)
        self.network.to(next(bridge.parameters()))
        weights = piece_weights(bridge.steps, decay)
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("balance", torch.diag(weights.sum(1)) - weights, persistent=False)
        times = torch.linspace(0.0, 1.0, bridge.steps + 1, dtype=torch.float64)
        self.register_buffer("times", times, persistent=False)

    def gradient(self, bridge: Bridge, target: Target, noise: NoiseSource, batch: int) -> Gradient:
        share = noise.share(batch)
        path = simulate_noting(bridge, target, noise.own((bridge.noise_rows, batch, bridge.dim)))
        return Gradient.of(descend(bridge, path, partial(self._loss, bridge, path, share), share).log_weight)

    def _loss(self, bridge: Bridge, path: Path, share: Share, weights: PathWeights) -> PathCoefficients:
        if not bool(self.started):
            self.log_z.data.copy_(weights.log_weight.mean())
            self.started.fill_(True)
        members, rows = weights.members, share.rows
        mine = (members >= rows.start) & (members < rows.stop)
        # A path's flows and coefficients depend on no other path, so that those of other workers' are left at zero.
        known, pull = weights.select(mine), weights.end.new_zeros(path.state.shape[0], members.shape[0])
        if bool(mine.any()):
            flow = self._flows(bridge, path.select(known.members - rows.start), known)
            travelled = functional.pad(-known.increments.cumsum(0), (0, 0, 1, 0))
            pull[:, mine] = self.balance @ (flow.detach() - travelled) / members.shape[0]
            (pull[:, mine] * flow).sum().backward()
        later = pull.flip(0).cumsum(0).flip(0)[1:]
        return PathCoefficients(pull[0], -later, later, torch.zeros_like(later))

    def _flows(self, bridge: Bridge, path: Path, weights: PathWeights) -> Tensor:
        """U_n, `(steps + 1) x batch` float64, live in log Z and the network."""
        first, last = (self.log_z + weights.start)[None], weights.end[None]
        if bridge.steps == 1:
            return torch.cat([first, last])
        inner, times = path.state[1:-1], self.times[1:-1, None]
        with torch.no_grad():
            prior = bridge.start_log_density(inner.flatten(0, 1)).view(inner.shape[:2])
        energy = (1.0 - times) * (self.log_z + prior) + times * path.log_densities[1:-1].double()
        correction = self.network(inner, path.score[1:-1], self.times[1:-1].to(inner.dtype)).double()
        return torch.cat([first, energy + correction, last])


class _Flow(nn.Module):
    """g(state, score, time), zero at the start of training."""

    frequencies: Tensor

    def __init__(self, state_dim: int, dim: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.inlet = nn.Linear(state_dim + dim + 2 * _FREQUENCIES, width)
        self.hidden = nn.Linear(width, width)
        self.outlet = nn.Linear(width, 1)
        self.register_buffer("frequencies", math.pi * torch.arange(1, _FREQUENCIES + 1), persistent=False)
        for layer in (self.inlet, self.hidden):
            bound = 1.0 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def forward(self, state: Tensor, score: Tensor, times: Tensor) -> Tensor:
        """`m x batch` at states `m x batch x state_dim`, scores `m x batch x dim` and times `(m,)`."""
        phase = times[:, None] * self.frequencies
        waves = torch.cat([phase.sin(), phase.cos()], -1)[:, None].expand(-1, state.shape[1], -1)
        seen = torch.cat([state, score.clamp(-_SCORE_CLIP, _SCORE_CLIP), waves], -1)
        hidden = functional.silu(self.hidden(functional.silu(self.inlet(seen))))
        correction: Tensor = self.outlet(hidden)[..., 0]
        return correction
