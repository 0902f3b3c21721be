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

from .residual import Layers, hidden_values, outer, residual

__all__ = ["Control", "OnGrid", "Sight", "TimeFeatures"]

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


class Sight(NamedTuple):
    """What a control sees at points, `... x inputs`, and the score that its gates multiply, `... x dim`."""

    seen: Tensor
    score: Tensor

    @classmethod
    def of(cls, x: Tensor, score: Tensor, out: "Sight | None" = None) -> "Sight":
        """At x, `... x inputs`, with this score, clipped; written to `out` where nothing is differentiated."""
        clipped = torch.clamp(score, -_SCORE_CLIP, _SCORE_CLIP, out=None if out is None else out.score)
        parts = [x, clipped.clamp(-_SCORE_INPUT_CLIP, _SCORE_INPUT_CLIP)]
        return cls(torch.cat(parts, -1, out=None if out is None else out.seen), clipped)

    def at(self, rows: int | slice) -> "Sight":
        """The same at some of m grid points."""
        return Sight(self.seen[rows], self.score[rows])


class OnGrid(NamedTuple):
    """A control at grid points, with whatever does not depend on the points computed once."""

    features: list[TimeFeatures]
    layers: Layers

    def __call__(self, n: int, sight: Sight, hidden: Tensor | None = None) -> Tensor:
        """u, `batch x dim`, at grid point n; without gradients `hidden` takes what the second hidden layer is given."""
        return _field(sight, self.features[n], self.layers, hidden)


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

    def on_grid(self, times: Tensor) -> OnGrid:
        """At times in [0, 1], `(m,)`, one after the other."""
        return OnGrid(self.features(times).each(), self.layers())

    def forward(self, x: Tensor, score: Tensor, features: TimeFeatures) -> Tensor:
        """u, `... x dim`, at points or states x, `... x inputs`, with annealed score `... x dim`, at those times."""
        return _field(Sight.of(x, score), features, self.layers())

    def layers(self) -> Layers:
        """The weights that do not see the time."""
        hidden, outlet = self.hidden, self.outlet
        return Layers(self.inlet.weight, hidden.weight, hidden.bias, outlet.weight, outlet.bias)


def _field(sight: Sight, features: TimeFeatures, layers: Layers, hidden: Tensor | None = None) -> Tensor:
    if not torch.is_grad_enabled():
        return outer(hidden_values(sight.seen, features.shift, layers, hidden), sight.score, features.gate, layers)
    if sight.seen.ndim == 3 and not sight.seen.requires_grad:
        return residual(sight.seen, sight.score, features.shift, features.gate, layers)
    inlet = functional.silu(functional.linear(sight.seen, layers.inlet) + features.shift)
    inner = functional.silu(functional.linear(inlet, layers.hidden, layers.hidden_bias))
    field, gate = functional.linear(inner, layers.outlet, layers.outlet_bias).chunk(2, -1)
    return torch.addcmul(field, features.gate + gate, sight.score)
