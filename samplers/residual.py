"""The layers of a control on constant points, with forward and backward passes written out.

    h1 = silu(inlet z + shift),  h2 = silu(hidden h1 + b),  (f, g) = outlet h2 + c,  u = f + (gate + g) score

Training differentiates this at every point of every path, in the parameters only. Autograd's way took 8.4 ms for 8192
points of 26 dimensions at width 64 (one core), this one 6.8; the bare matrix products took 3.7.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["Layers", "residual"]


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
        inlet, hidden, hidden_bias, outlet, outlet_bias = weights
        steps, batch, dim = score.shape
        before_1 = (seen.flatten(0, 1) @ inlet.mT).view(steps, batch, -1).add_(shift).flatten(0, 1)
        after_1 = functional.silu(before_1)
        before_2 = torch.addmm(hidden_bias, after_1, hidden.mT)
        after_2 = functional.silu(before_2)
        field, own_gate = torch.addmm(outlet_bias, after_2, outlet.mT).view(steps, batch, -1).split(dim, -1)
        ctx.save_for_backward(seen, score, hidden, outlet, before_1, after_1, before_2, after_2)
        out: Tensor = (own_gate + gate).mul_(score).add_(field)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        seen, score, hidden, outlet, before_1, after_1, before_2, after_2 = ctx.saved_tensors
        steps, batch, dim = score.shape
        of_head = torch.empty((steps, batch, 2 * dim), dtype=score.dtype, device=score.device)
        of_head[..., :dim] = gradient
        torch.mul(gradient, score, out=of_head[..., dim:])
        head_sums, of_out = of_head.sum(1), of_head.flatten(0, 1)
        of_2 = _through_silu(of_out @ outlet, before_2)
        of_1 = _through_silu(of_2 @ hidden, before_1)
        return (
            None,
            None,
            of_1.view(steps, batch, -1).sum(1, keepdim=True),
            head_sums[:, None, dim:],
            of_1.mT @ seen.flatten(0, 1),
            of_2.mT @ after_1,
            of_2.sum(0),
            of_out.mT @ after_2,
            head_sums.sum(0),
        )


def _through_silu(gradient: Tensor, before: Tensor) -> Tensor:
    """The gradient in front of a silu, written over the one behind it."""
    torch.ops.aten.silu_backward.grad_input(gradient, before, grad_input=gradient)
    return gradient
