"""Log densities of Euler-like kernels along stored paths, with the gradient written out.

For a kernel N(y; base + s^2 D, s^2) with a linear drift D = k + sum_i a_i t_i + field and gap = y - base,

    log density = -|e|^2 / 2 - sum log s - (dim / 2) log 2 pi,   e = gap / s - s D.

k, a_i and s depend on the transition and the coordinate alone, the terms t_i are arrays on the path. A loss needs the
density twice, live in everything and with the field held constant (`losses.py`): equal values, so one pass computes
both. Gradients of coefficients are sums over the batch, taken without ever forming those of D at every point.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gephyra.targets.gaussian import LOG_SQRT_2PI

__all__ = ["Term", "coefficient_gradients", "error_log_density", "euler_error", "euler_log_density"]


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


def euler_error(
    gap: Tensor, constant: Tensor, terms: Sequence[Term], field: Tensor | None, scale: Tensor, out: Tensor | None = None
) -> Tensor:
    """e, `m x batch x dim`; arguments as for `euler_log_density`, and where to put it."""
    spread = scale[:, None]
    error = torch.mul(gap, spread.reciprocal(), out=out)
    error.addcmul_(constant[:, None], spread, value=-1.0)
    for term in terms:
        error.addcmul_(term.value, (term.coefficient * scale)[:, None], value=-1.0)
    return error if field is None else error.addcmul_(field, spread, value=-1.0)


def error_log_density(error: Tensor, scale: Tensor) -> Tensor:
    """The log density from e and s, `m x batch` in float64."""
    normaliser = scale.double().log().sum(-1, keepdim=True) + scale.shape[-1] * LOG_SQRT_2PI
    norm: Tensor = torch.linalg.vector_norm(error, dim=-1)
    return norm.double().square_().mul_(-0.5).sub_(normaliser)


def coefficient_gradients(
    pull: Tensor, count: Tensor, error: Tensor, gap: Tensor, values: Sequence[Tensor], scale: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The gradient in k, s and the a_i, `m x dim` each.

    Args:
        pull: e times the gradient in the log density, `m x batch x dim`.
        count: Sum over the batch of the gradient in the log density, `(m,)`.
        error: e.
        gap: y - base.
        values: The terms t_i.
        scale: s.
    """
    # d log density / ds = (e^2 - 1) / s + 2 e D, and s D = gap / s - e.
    spread = (2.0 * (pull * gap).sum(1) / scale - (pull * error).sum(1) - count[:, None]) / scale
    return pull.sum(1) * scale, spread.to(scale.dtype), [(pull * value).sum(1) * scale for value in values]


class _EulerLogDensity(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gap: Tensor, constant: Tensor, field: Tensor | None, scale: Tensor, *flat: Tensor
    ) -> tuple[Tensor, Tensor]:
        terms = [Term(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
        error = euler_error(gap, constant, terms, field, scale)
        ctx.save_for_backward(error, gap, scale, *flat)
        live = error_log_density(error, scale)
        return live, live.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_live: Tensor, of_shared: Tensor) -> tuple[Tensor | None, ...]:
        error, gap, scale, *flat = ctx.saved_tensors
        both, spread = of_live + of_shared, scale[:, None]
        pull = error * both.to(error.dtype)[:, :, None]
        sums = coefficient_gradients(pull, both.sum(1), error, gap, flat[1::2], scale)
        of_constant, of_scale, of_coefficients = sums
        of_gap = pull / -spread if ctx.needs_input_grad[0] else None
        of_field = (error * of_live.to(error.dtype)[:, :, None]).mul_(spread) if ctx.needs_input_grad[2] else None
        of_flat: list[Tensor | None] = []
        for index, coefficient in enumerate(flat[::2]):
            live = ctx.needs_input_grad[5 + 2 * index]
            of_flat += [of_coefficients[index], pull * (scale * coefficient)[:, None] if live else None]
        return of_gap, of_constant, of_field, of_scale, *of_flat
