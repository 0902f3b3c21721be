"""Friction and step size of underdamped bridges, on the grid n = 0, ..., N of the transitions.

In units where the momentum v has the stationary law N(0, 1), a transition that takes the share q_n of the time lasts
delta_n = T q_n and rubs over Gamma q_n, with T and Gamma per dimension and the sum of q_n = 1. The exact friction step

    O: v~ ~ N( c_n v, 1 - c_n^2 ),     c_n = exp(-Gamma q_n)

leaves N(0, 1) invariant. A mass would be redundant: it rescales v and delta together.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .schedule import cosine_shares

__all__ = ["Motion", "Pace"]


class Pace(NamedTuple):
    """The motion on the whole grid, each `steps x dim`."""

    step: Tensor
    """delta_n: what the position moves with unit momentum."""
    push: Tensor
    """What a control of one adds to the momentum in one O step, delta (1 - c) / -log c over the number of O steps.

    That is what a constant force does to a momentum under friction: below delta, and exact.
    """
    keep: Tensor
    """c of one O step."""
    variance: Tensor
    """1 - c^2 of one O step."""

    def at(self, rows: int | slice) -> "Pace":
        """One transition, `1 x dim`, or m of them, `m x 1 x dim`: the axis of size one is the batch."""
        return Pace(*(part[rows, None] for part in self))


class Motion(nn.Module):
    """Learned friction and time a dimension, and a learned share of time a step.

    Args:
        dim: Dimension.
        steps: Transitions N.
        time: Initial T, positive; one number, or one a dimension.
        friction: Initial Gamma, positive, for the whole time.
        learned: Whether T and Gamma receive gradients.
        learned_time: Whether the shares of time do.
    """

    def __init__(
        self,
        dim: int,
        steps: int,
        time: float | Tensor,
        friction: float,
        *,
        learned: bool = True,
        learned_time: bool = True,
    ) -> None:
        super().__init__()
        self.log_time = nn.Parameter(torch.as_tensor(time).float().log().expand(dim).clone(), requires_grad=learned)
        self.log_friction = nn.Parameter(torch.full((dim,), friction).log(), requires_grad=learned)
        self.raw_time = nn.Parameter(cosine_shares(steps).log(), requires_grad=learned_time)

    def forward(self, refreshes: int) -> Pace:
        """The pace where the friction of a transition is split evenly into `refreshes` O steps."""
        log_share = functional.log_softmax(self.raw_time, 0)[:, None]
        rubbed = (self.log_friction + log_share).exp() / refreshes
        step = (self.log_time + log_share).exp()
        push = step / refreshes * (-torch.expm1(-rubbed) / rubbed)
        return Pace(step, push, (-rubbed).exp(), -torch.expm1(-2.0 * rubbed))
