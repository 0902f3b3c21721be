"""Log densities of Euler-like kernels along stored paths, fused: where a training step spends its time.

For a kernel N(y; base + s^2 D, s^2) with a linear drift D = k + sum_i a_i t_i + field and gap = y - base,

    log density = -|e|^2 / 2 - sum log s - (dim / 2) log 2 pi,   e = gap / s - s D.

k, a_i and s depend on the transition and the coordinate alone, the terms t_i are arrays on the path. A loss needs the
density twice, live in everything and with the field held constant (`losses.py`): equal values, so one pass computes
both. Gradients of coefficients are sums over the batch, taken without ever forming those of D at every point.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["Term", "euler_log_density"]

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Term(NamedTuple):
    """One part a t of a linear drift."""

    coefficient: Tensor
    """a, `m x dim`."""
    value: Tensor
    """t, `m x batch x dim`."""


def euler_log_density(
    gap: Tensor, constant: Tensor, terms: Sequence[Term], field: Tensor | None, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """The log density, and the same number with the field held constant; each `m x batch` in float64.

    Differentiable once, in every argument.

    Args:
        gap: y - base, `m x batch x dim`.
        constant: k, `m x dim`.
        terms: The other parts of the fixed drift.
        field: Output of a control, like the gap, or None.
        scale: Standard deviation s, `m x dim`.
    """
    flat = [part for term in terms for part in term]
    live, shared = _EulerLogDensity.apply(gap, constant, field, scale, *flat)  # type: ignore[no-untyped-call]
    return live, shared


class _EulerLogDensity(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gap: Tensor, constant: Tensor, field: Tensor | None, scale: Tensor, *flat: Tensor
    ) -> tuple[Tensor, Tensor]:
        drift = constant[:, None].expand_as(gap) if not flat else constant[:, None]
        for coefficient, value in zip(flat[::2], flat[1::2], strict=True):
            drift = torch.addcmul(drift, coefficient[:, None], value)
        if field is not None:
            drift = drift.add_(field) if flat else drift + field
        error = (gap * scale.reciprocal()[:, None]).addcmul_(drift, scale[:, None], value=-1.0)
        ctx.save_for_backward(error, drift, scale, *flat)
        normaliser = scale.double().log().sum(-1, keepdim=True) + scale.shape[-1] * _HALF_LOG_TWO_PI
        live = error.square().sum(-1).double().mul_(-0.5).sub_(normaliser)
        return live, live.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_live: Tensor, of_shared: Tensor) -> tuple[Tensor | None, ...]:
        error, drift, scale, *flat = ctx.saved_tensors
        of_gap, of_constant, of_field, of_scale, *of_flat = (None,) * (4 + len(flat))
        needed, spread = ctx.needs_input_grad, scale[:, None]
        both = of_live + of_shared
        pull = error * both.to(error.dtype)[:, :, None]
        if needed[0]:
            of_gap = pull / -spread
        if needed[1]:
            of_constant = pull.sum(1) * scale
        if needed[2]:
            of_field = (error * of_live.to(error.dtype)[:, :, None]).mul_(spread)
        if needed[3]:
            quadratic, linear = (pull * error).sum(1), (pull * drift).sum(1)
            of_scale = (quadratic - both.sum(1, keepdim=True)) / scale + 2.0 * linear
        for index in range(0, len(flat), 2):
            coefficient, value = flat[index : index + 2]
            if needed[4 + index]:
                of_flat[index] = (pull * value).sum(1) * scale
            if needed[5 + index]:
                of_flat[index + 1] = pull * (scale * coefficient)[:, None]
        return of_gap, of_constant, of_field, of_scale, *of_flat
