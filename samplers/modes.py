"""Which modes the draws reach, of those that the preconditioner saw."""

import torch
from torch import Tensor

from .components import Components

__all__ = ["modes_drawn", "nearest_mode", "one_each"]

# A mode counts as drawn from this part of the share that the preconditioner gave it.
_PART = 0.1


def one_each(components: Components, modes: int) -> Components:
    """A component a mode: the first ones, each with the weight of all that are nearest to it.

    Args:
        components: Of a mixture that grew from one component a mode.
        modes: Their number.
    """
    first = components.chosen(torch.arange(modes))
    share = torch.zeros_like(first.log_weight)
    share.index_add_(0, nearest_mode(components.mean, first), components.log_weight.softmax(0))
    return first._replace(log_weight=share.log())


def nearest_mode(u: Tensor, components: Components) -> Tensor:
    """Index of the component at the smallest Mahalanobis distance from each point u, `batch x dim`; `(batch,)`."""
    distances = []
    for mean, tril in zip(components.mean, components.tril, strict=True):
        deviation = u.double() - mean
        standard = (
            deviation / tril if tril.ndim == 1 else torch.linalg.solve_triangular(tril, deviation.mT, upper=False).mT
        )
        distances.append(standard.square().sum(-1))
    return torch.stack(distances).argmin(0)


def modes_drawn(mode: Tensor, log_weight: Tensor, components: Components) -> int:
    """How many components hold at least a tenth of their share of the weighted draws.

    Args:
        mode: Component of each draw, `(n,)`.
        log_weight: `(n,)` float64, not all -inf.
        components: What the preconditioner found.
    """
    share = torch.zeros_like(components.log_weight.double())
    share.index_add_(0, mode, log_weight.softmax(0))
    return int((share >= _PART * components.log_weight.double().softmax(0)).sum())
