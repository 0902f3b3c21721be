"""Control networks: a residual field u_n(x) from the point, the annealed score and the time.

The score-informed head of the path integral sampler (Zhang and Chen 2022), with a gate that sees the point too:
u = body(x, score, t) + (gate(t) + gate(x, score, t)) * score. In a funnel the right multiple of the score changes with
the point; on Seeds the second gate took the ELBO from -73.64 to -73.56 at equal steps. Everything that depends on time
alone is computed once for the whole grid.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .residual import Layers, residual

__all__ = ["Control", "TimeFeatures"]

_FREQUENCIES = 16
# The gate multiplies a score that is clipped here, the body sees it within a tenth of that. A clip inside a mean keeps
# E[w] = Z; it bounds what one wild point can do to a path.
_SCORE_CLIP = 100.0
_SCORE_INPUT_CLIP = 10.0


class TimeFeatures(NamedTuple):
    """What a control needs to know about the times of m grid points: `shift`, m x width, and `gate`, m x dim.

    The shift holds the inlet's bias.
    """

    shift: Tensor
    gate: Tensor

    def each(self) -> "list[TimeFeatures]":
        """The features of the grid points one by one."""
        return [TimeFeatures(*pair) for pair in zip(self.shift.unbind(), self.gate.unbind(), strict=True)]

    def between(self, first: int, last: int) -> "TimeFeatures":
        """The features of grid points first, ..., last - 1, with a batch axis of size one after the time axis."""
        return TimeFeatures(self.shift[first:last, None], self.gate[first:last, None])


class Control(nn.Module):
    """u(t, x) for a bridge of dimension `dim`; at the start of training a multiple of the annealed score.

    Args:
        dim: Dimension of the points.
        width: Hidden width.
        generator: Source of the initial weights.
        gate: That multiple, 0 for no control.
        inputs: Dimension of what the network sees beside the score, if it is not the point alone.
    """

    frequencies: Tensor

    def __init__(
        self, dim: int, width: int, generator: torch.Generator, *, gate: float = 0.0, inputs: int | None = None
    ) -> None:
        super().__init__()
        self.time_in = nn.Linear(2 * _FREQUENCIES, width)
        self.time_out = nn.Linear(width, width)
        self.gate = nn.Linear(width, dim)
        self.inlet = nn.Linear(dim + (inputs or dim), width)
        self.hidden = nn.Linear(width, width)
        self.outlet = nn.Linear(width, 2 * dim)
        self.register_buffer("frequencies", math.pi * torch.arange(1, _FREQUENCIES + 1), persistent=False)
        for layer in (self.time_in, self.time_out, self.inlet, self.hidden):
            bound = 1.0 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.zeros_(layer.bias)
        for layer in (self.gate, self.outlet):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.gate.bias, gate)

    def features(self, times: Tensor) -> TimeFeatures:
        """Features of times in [0, 1], `(m,)`."""
        phase = times[:, None] * self.frequencies
        embedding = self.time_out(functional.silu(self.time_in(torch.cat([phase.sin(), phase.cos()], -1))))
        return TimeFeatures(embedding + self.inlet.bias, self.gate(functional.silu(embedding)))

    def forward(self, x: Tensor, score: Tensor, features: TimeFeatures) -> Tensor:
        """u, `... x dim`, at points or states x, `... x inputs`, with annealed score `... x dim`, at those times."""
        clipped = score.clamp(-_SCORE_CLIP, _SCORE_CLIP)
        seen = torch.cat([x, clipped.clamp(-_SCORE_INPUT_CLIP, _SCORE_INPUT_CLIP)], -1)
        if torch.is_grad_enabled() and seen.ndim == 3 and not seen.requires_grad:
            return residual(seen, clipped, features.shift, features.gate, self._layers())
        return self._plain(seen, clipped, features)

    def _plain(self, seen: Tensor, clipped: Tensor, features: TimeFeatures) -> Tensor:
        shift, layers = features.shift, self._layers()
        # At one time the shift is a bias like any other: free.
        inlet = functional.linear(seen, layers.inlet, shift if shift.ndim == 1 else None)
        inlet = inlet if shift.ndim == 1 else inlet.add_(shift)
        # Nobody else holds what the layers return, but autograd may.
        constant = not torch.is_grad_enabled()
        hidden = functional.linear(functional.silu(inlet, inplace=constant), layers.hidden, layers.hidden_bias)
        outlet = functional.linear(functional.silu(hidden, inplace=constant), layers.outlet, layers.outlet_bias)
        field, gate = outlet.chunk(2, -1)
        return torch.addcmul(field, features.gate + gate, clipped)

    def _layers(self) -> Layers:
        hidden, outlet = self.hidden, self.outlet
        return Layers(self.inlet.weight, hidden.weight, hidden.bias, outlet.weight, outlet.bias)
