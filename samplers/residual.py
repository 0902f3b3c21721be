"""The layers of a control on constant points, with forward and backward passes written out.

    h1 = silu(inlet z + shift),  h2 = silu(hidden h1 + b),  (f, g) = outlet h2 + c,  u = f + (gate + g) score

Training differentiates this at every point of every path, in the parameters only: the passes are plain functions, which
`sweep.py` runs a few points at a time, and one differentiable function of many points.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["Layers", "hidden_values", "outer", "pull_back", "residual"]


class Layers(NamedTuple):
    """Weights as `nn.Linear` keeps them. The inlet's bias is part of the shift."""

    inlet: Tensor
    """`width x inputs`."""
    hidden: Tensor
    """`width x width`."""
    hidden_bias: Tensor
    """`(width,)`."""
    outlet: Tensor
    """`2 dim x width`: rows of f, then of g."""
    outlet_bias: Tensor
    """`(2 dim,)`."""


def hidden_values(seen: Tensor, shift: Tensor, layers: Layers, out: Tensor | None = None) -> Tensor:
    """What the second silu is given, `m x batch x width`.

    Args:
        seen: z, `m x batch x inputs`.
        shift: `m x 1 x width`.
        layers: The weights.
        out: Where to put it.
    """
    after = functional.silu(_inlet(seen, shift, layers), inplace=True)
    return _linear(after, layers.hidden, layers.hidden_bias, out)


def outer(hidden: Tensor, score: Tensor, gate: Tensor, layers: Layers) -> Tensor:
    """u, `m x batch x dim`, from the hidden values, the score, `m x batch x dim`, and the gate, `m x 1 x dim`."""
    field, own_gate = _linear(functional.silu(hidden), layers.outlet, layers.outlet_bias).chunk(2, -1)
    return torch.addcmul(field, own_gate + gate, score)


def pull_back(
    gradient: Tensor, seen: Tensor, score: Tensor, shift: Tensor, hidden: Tensor, layers: Layers
) -> tuple[Tensor, ...]:
    """The gradient in shift, gate and layers from that in u, `m x batch x dim`: shapes as in `residual`.

    From the outlet inwards, each array made when it is needed: they are still in the cache when they are used.
    """
    steps, batch, dim = score.shape
    of_head = torch.cat([gradient, gradient * score], -1)
    head_sums, of_out = of_head.sum(1), of_head.flatten(0, 1)
    before_2 = hidden.flatten(0, 1)
    of_outlet = of_out.mT @ functional.silu(before_2)
    of_2 = _through_silu(of_out @ layers.outlet, before_2)
    before_1 = _inlet(seen, shift, layers).flatten(0, 1)
    of_hidden = of_2.mT @ functional.silu(before_1)
    of_1 = _through_silu(of_2 @ layers.hidden, before_1)
    # This way round the product is faster.
    of_inlet = (seen.flatten(0, 1).mT @ of_1).mT
    of_shift = of_1.view(steps, batch, -1).sum(1, keepdim=True)
    return of_shift, head_sums[:, None, dim:], of_inlet, of_hidden, of_2.sum(0), of_outlet, head_sums.sum(0)


def residual(seen: Tensor, score: Tensor, shift: Tensor, gate: Tensor, layers: Layers) -> Tensor:
    """u, `m x batch x dim`, differentiable once in everything but the points.

    Args:
        seen: z, `m x batch x inputs`, a constant.
        score: `m x batch x dim`, a constant.
        shift: `m x 1 x width`.
        gate: `m x 1 x dim`.
        layers: The weights.
    """
    out: Tensor = _Residual.apply(seen, score, shift, gate, *layers)  # type: ignore[no-untyped-call]
    return out


class _Residual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, seen: Tensor, score: Tensor, shift: Tensor, gate: Tensor, *weights: Tensor) -> Tensor:
        layers = Layers(*weights)
        hidden = hidden_values(seen, shift, layers)
        ctx.save_for_backward(seen, score, shift, hidden, *layers)
        return outer(hidden, score, gate, layers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        seen, score, shift, hidden, *weights = ctx.saved_tensors
        return None, None, *pull_back(gradient, seen, score, shift, hidden, Layers(*weights))


def _inlet(seen: Tensor, shift: Tensor, layers: Layers) -> Tensor:
    # At one time the shift is a bias like any other. A batched product would take half as long again.
    if seen.ndim == 2 or shift.shape[0] == 1:
        return _linear(seen, layers.inlet, shift.view(-1))
    return (seen.flatten(0, 1) @ layers.inlet.mT).view(*seen.shape[:2], -1).add_(shift)


def _linear(values: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None = None) -> Tensor:
    """A layer at `batch` or `m x batch` points, as one product."""
    # `addmm` would write the bias first, to memory that no cache holds yet.
    if values.ndim == 2:
        return torch.mm(values, weight.mT, out=out).add_(bias)
    into = None if out is None else out.flatten(0, 1)
    return torch.mm(values.flatten(0, 1), weight.mT, out=into).add_(bias).view(*values.shape[:2], -1)


def _through_silu(gradient: Tensor, before: Tensor) -> Tensor:
    """The gradient in front of a silu, written over the one behind it."""
    torch.ops.aten.silu_backward.grad_input(gradient, before, grad_input=gradient)
    return gradient
